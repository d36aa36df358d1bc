//! The rules that a spec may name for its aggregation, and their numbers.

use std::collections::BTreeMap;

use crate::param::{Param, check_numbers};
use crate::record::{Rule, SpecError};

/// Most distances that `mda/1` may have to look at: a fifth of a second on one thread.
const DISTANCES_MAX: f64 = 2e7;

/// A rule that changes the contributions before they are combined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Preparation {
    /// `clip/1`: no update is longer than `norm`, or than the median of the lengths if the spec gives no number.
    Clip { norm: Option<f64> },
    /// `arc/1`: adaptive robust clipping of the longest updates.
    Arc { f: usize },
    /// `bucketing/1`: means of `size` contributions that the parent's id draws.
    Bucketing { size: usize },
    /// `nnm/1`: each update is mixed with its nearest neighbours.
    Nnm { f: usize },
}

/// The number of neighbours whose distances Krum adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// n − f − 2, as in the paper and in Flower.
    Paper,
    /// n − f − 1, as in ByzFL.
    OneMore,
}

/// The rule that makes one update of many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Combination {
    Mean,
    Median,
    TrimmedMean {
        f: usize,
    },
    MeanAroundMedian {
        f: usize,
    },
    Krum {
        f: usize,
        neighbours: Neighbours,
    },
    MultiKrum {
        f: usize,
        keep: Option<usize>,
        neighbours: Neighbours,
    },
    Mda {
        f: usize,
    },
    Bulyan {
        f: usize,
    },
    GeometricMedian {
        nu: Option<f64>,
        iterations: usize,
    },
    CentredClipping {
        radius: Option<f64>,
        iterations: usize,
    },
    FlTrust,
}

const F: Param = Param {
    name: "f",
    required: true,
    must: "a whole number from 0 to 512: the number of members that may lie",
    holds: |x| (0.0..=512.0).contains(&x) && x.fract() == 0.0,
};
const NORM: Param = Param { name: "norm", ..RADIUS };
const RADIUS: Param = Param {
    name: "radius",
    required: false,
    must: "finite and above 0: a length in the units of the weights",
    holds: |x| x.is_finite() && x > 0.0,
};
const NU: Param = Param { name: "nu", ..RADIUS };
const SIZE: Param = Param {
    name: "size",
    required: true,
    must: "a whole number from 2 to 512: contributions in a bucket",
    holds: |x| (2.0..=512.0).contains(&x) && x.fract() == 0.0,
};
const KEEP: Param = Param {
    name: "keep",
    required: false,
    must: "a whole number from 1 to 512: contributions that are kept",
    holds: |x| (1.0..=512.0).contains(&x) && x.fract() == 0.0,
};
const ITERATIONS: Param = Param {
    name: "iterations",
    required: false,
    must: "a whole number from 1 to 1000",
    holds: |x| (1.0..=1000.0).contains(&x) && x.fract() == 0.0,
};

/// A parsed rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Known {
    Preparation(Preparation),
    Combination(Combination),
}

/// A rule as the table of rules has it.
struct Entry {
    id: &'static str,
    numbers: &'static [Param],
    /// Reads the numbers, which have been checked.
    make: fn(&Numbers<'_>) -> Known,
}

/// The numbers of a rule, after their check.
struct Numbers<'a>(&'a BTreeMap<String, f64>);

impl Numbers<'_> {
    fn real(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }
    fn count(&self, name: &str) -> Option<usize> {
        self.real(name).map(|x| x as usize)
    }
    fn f(&self) -> usize {
        self.count(F.name).unwrap_or(0)
    }
}

fn combination(combination: Combination) -> Known {
    Known::Combination(combination)
}

const RULES: &[Entry] = &[
    Entry {
        id: "arc/1",
        numbers: &[F],
        make: |n| Known::Preparation(Preparation::Arc { f: n.f() }),
    },
    Entry {
        id: "bucketing/1",
        numbers: &[SIZE],
        make: |n| {
            Known::Preparation(Preparation::Bucketing {
                size: n.count(SIZE.name).unwrap_or(2),
            })
        },
    },
    Entry {
        id: "clip/1",
        numbers: &[NORM],
        make: |n| {
            Known::Preparation(Preparation::Clip {
                norm: n.real(NORM.name),
            })
        },
    },
    Entry {
        id: "nnm/1",
        numbers: &[F],
        make: |n| Known::Preparation(Preparation::Nnm { f: n.f() }),
    },
    Entry {
        id: "bulyan/1",
        numbers: &[F],
        make: |n| combination(Combination::Bulyan { f: n.f() }),
    },
    Entry {
        id: "centred-clipping/1",
        numbers: &[ITERATIONS, RADIUS],
        make: |n| {
            combination(Combination::CentredClipping {
                radius: n.real(RADIUS.name),
                iterations: n.count(ITERATIONS.name).unwrap_or(3),
            })
        },
    },
    Entry {
        id: "fltrust/1",
        numbers: &[],
        make: |_| combination(Combination::FlTrust),
    },
    Entry {
        id: "geometric-median/1",
        numbers: &[ITERATIONS, NU],
        make: |n| {
            combination(Combination::GeometricMedian {
                nu: n.real(NU.name),
                iterations: n.count(ITERATIONS.name).unwrap_or(32),
            })
        },
    },
    Entry {
        id: "krum/1",
        numbers: &[F],
        make: |n| krum(n, Neighbours::Paper),
    },
    Entry {
        id: "krum-n-f-1/1",
        numbers: &[F],
        make: |n| krum(n, Neighbours::OneMore),
    },
    Entry {
        id: "mda/1",
        numbers: &[F],
        make: |n| combination(Combination::Mda { f: n.f() }),
    },
    Entry {
        id: "mean/1",
        numbers: &[],
        make: |_| combination(Combination::Mean),
    },
    Entry {
        id: "mean-around-median/1",
        numbers: &[F],
        make: |n| combination(Combination::MeanAroundMedian { f: n.f() }),
    },
    Entry {
        id: "median/1",
        numbers: &[],
        make: |_| combination(Combination::Median),
    },
    Entry {
        id: "multi-krum/1",
        numbers: &[F, KEEP],
        make: |n| multi_krum(n, Neighbours::Paper),
    },
    Entry {
        id: "multi-krum-n-f-1/1",
        numbers: &[F, KEEP],
        make: |n| multi_krum(n, Neighbours::OneMore),
    },
    Entry {
        id: "trimmed-mean/1",
        numbers: &[F],
        make: |n| combination(Combination::TrimmedMean { f: n.f() }),
    },
];

fn krum(numbers: &Numbers<'_>, neighbours: Neighbours) -> Known {
    combination(Combination::Krum {
        f: numbers.f(),
        neighbours,
    })
}

fn multi_krum(numbers: &Numbers<'_>, neighbours: Neighbours) -> Known {
    combination(Combination::MultiKrum {
        f: numbers.f(),
        keep: numbers.count(KEEP.name),
        neighbours,
    })
}

/// Makes the error of a spec's aggregation.
pub(super) fn refused(problem: String) -> SpecError {
    SpecError {
        field: "aggregation",
        problem,
    }
}

/// Reads a rule. The error names the unknown part and lists what is known.
pub(super) fn parse(rule: &Rule) -> Result<Known, SpecError> {
    let id = &rule.id;
    let Some(entry) = RULES.iter().find(|entry| entry.id == id) else {
        let known: Vec<_> = RULES.iter().map(|entry| entry.id).collect();
        return Err(refused(format!("{id:?} is not known here: {} are", known.join(", "))));
    };
    check_numbers("aggregation", rule, entry.numbers, |_| false)?;
    Ok((entry.make)(&Numbers(&rule.params)))
}

/// Checks that the rule can work with `least` contributions, the fewest that a round of the model may have (of at most
/// `most`), and returns how many it hands on.
pub(super) fn check_bounds(rule: &Rule, known: Known, least: usize, most: usize) -> Result<usize, SpecError> {
    let fail = |needs: String, remedy: &str| {
        Err(refused(format!(
            "{}: {needs}, and a round of this model may have {least}: {remedy}",
            rule.id
        )))
    };
    const FEWER: &str = "lower f, or raise min_contributions";
    let at_least = |f: usize, bound: usize, words: &str| match least >= bound {
        true => Ok(least),
        false => fail(format!("f = {f} needs at least {words} = {bound} contributions"), FEWER),
    };
    match known {
        Known::Preparation(Preparation::Clip { .. }) => Ok(least),
        Known::Preparation(Preparation::Bucketing { size }) if size > least => fail(
            format!("size = {size} needs as many contributions"),
            "lower size, or raise min_contributions",
        ),
        Known::Preparation(Preparation::Bucketing { size }) => Ok(least.div_ceil(size)),
        Known::Preparation(Preparation::Arc { f } | Preparation::Nnm { f })
        | Known::Combination(Combination::TrimmedMean { f } | Combination::MeanAroundMedian { f }) => {
            at_least(f, 2 * f + 1, "2 f + 1")
        }
        Known::Combination(Combination::Mda { f }) => {
            // The search looks at the beginnings of subsets, about n over f + 1, and for each at up to n distances.
            let subsets = (0..=f).fold(1.0, |count, i| count * (most - i.min(most)) as f64 / (i + 1) as f64);
            if subsets * most as f64 > DISTANCES_MAX {
                return Err(refused(format!(
                    "{}: f = {f} of up to {most} contributions leaves about {subsets:.0} subsets to compare, too many: lower f, or \
                     take multi-krum/1",
                    rule.id
                )));
            }
            at_least(f, 2 * f + 1, "2 f + 1")
        }
        Known::Combination(Combination::MultiKrum {
            keep: Some(keep), f, ..
        }) if keep + f > least => fail(
            format!(
                "keep = {keep} with f = {f} needs at least keep + f = {} contributions",
                keep + f
            ),
            "lower keep, or raise min_contributions",
        ),
        Known::Combination(Combination::Krum { f, .. } | Combination::MultiKrum { f, .. }) => {
            at_least(f, 2 * f + 3, "2 f + 3")
        }
        Known::Combination(Combination::Bulyan { f }) => at_least(f, 4 * f + 3, "4 f + 3"),
        Known::Combination(_) => Ok(1),
    }
}
