//! Plans: what the rules come to for the updates of one round.

use super::centre::{centred_clipping, fltrust, geometric_median, medoid};
use super::preparation::prepare;
use super::rule::Combination;
use super::rules::Aggregation;
use super::selection;
use super::span::{Span, Vector};
use super::verdict::Rejection;

/// A rule that makes one number of the vectors' numbers, coordinate by coordinate. Numbers are counted, not weighted, when it
/// is decided which are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoordinateRule {
    /// The weighted median.
    Median,
    /// The weighted mean without the `f` largest and smallest numbers.
    TrimmedMean { f: usize },
    /// The weighted mean of the `keep` numbers next to the median.
    MeanAroundMedian { keep: usize },
}

/// The way to the result of one round.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plan {
    /// The result is the sum of the updates with these coefficients.
    Sum(Vec<f64>),
    /// The result is made of these vectors, coordinate by coordinate.
    Coordinates { rule: CoordinateRule, vectors: Vec<Vector> },
}

/// A plan and what is known of each update by then.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    pub plan: Plan,
    /// The factor by which each update was shortened.
    pub clipped: Vec<f64>,
    /// The squared distance of each update to the result, if the plan is a sum and the inner products are known.
    pub distances2: Option<Vec<f64>>,
    /// The reason for each update that has no part in the result, as far as the plan decides this.
    pub rejected: Vec<Option<Rejection>>,
}

impl Planned {
    /// Returns the weight of each update in a sum; zeros for another plan. An update that was lengthened has the weight that it
    /// has with its new length.
    pub fn weights(&self, updates: usize) -> Vec<f64> {
        match &self.plan {
            Plan::Sum(coefficients) => {
                let weight = |(coefficient, clipped): (&f64, &f64)| coefficient / clipped.max(1.0);
                coefficients.iter().zip(&self.clipped).map(weight).collect()
            }
            Plan::Coordinates { .. } => vec![0.0; updates],
        }
    }

    /// Returns the reason why an update with this weight has no part in the result, if it has none.
    pub fn rejection(&self, update: usize, weight: f64) -> Option<Rejection> {
        match self.rejected[update] {
            None if weight == 0.0 => Some(Rejection::Trimmed),
            reason => reason,
        }
    }
}

impl Aggregation {
    /// Plans the aggregation of updates with these shares and inner products (empty if [`Aggregation::needs_products`] is
    /// false). `seed` draws what must be drawn; `root` is the update that FLTrust trusts, if it is there.
    pub(crate) fn plan(&self, shares: &[f64], products: Vec<f64>, seed: &[u8; 32], root: Option<usize>) -> Planned {
        let updates = Span::of_updates(shares, products);
        let mut clipped = vec![1.0; shares.len()];
        let mut span = updates.clone();
        for preparation in &self.preparations {
            span = prepare(*preparation, &span, seed, &mut clipped);
        }
        let (plan, refusal) = self.combine(&span, root, &mut clipped);
        let distances2 = match &plan {
            Plan::Sum(coefficients) if self.needs_products() => Some(updates.distances2(coefficients)),
            _ => None,
        };
        let part = part_of(&plan, shares.len());
        let reason = |i: usize| match () {
            () if part[i] => None,
            () if shares[i] == 0.0 => Some(Rejection::NoSamples),
            () if updates.norm(i).is_infinite() => Some(Rejection::TooLong),
            () => Some(refusal),
        };
        Planned {
            rejected: (0..shares.len()).map(reason).collect(),
            plan,
            clipped,
            distances2,
        }
    }

    /// Returns the plan for the prepared vectors, and the reason for those that it leaves out.
    fn combine(&self, span: &Span, root: Option<usize>, clipped: &mut [f64]) -> (Plan, Rejection) {
        let sum = |weights: &[f64]| Plan::Sum(span.sum(weights));
        let chosen = |chosen: &[usize]| (sum(&span.mean_of(chosen)), Rejection::NotSelected);
        let coordinates = |rule, among: &[usize]| Plan::Coordinates {
            rule,
            vectors: among.iter().map(|i| span.vectors[*i].clone()).collect(),
        };
        let all: Vec<usize> = (0..span.len()).collect();
        match self.combination {
            Combination::Mean => (sum(&span.shares()), Rejection::NotSelected),
            Combination::Median => (coordinates(CoordinateRule::Median, &all), Rejection::Trimmed),
            Combination::TrimmedMean { f } => {
                (coordinates(CoordinateRule::TrimmedMean { f }, &all), Rejection::Trimmed)
            }
            Combination::MeanAroundMedian { f } => {
                let keep = span.len().saturating_sub(f).max(1);
                (
                    coordinates(CoordinateRule::MeanAroundMedian { keep }, &all),
                    Rejection::Trimmed,
                )
            }
            Combination::Krum { f, neighbours } => chosen(&selection::krum(span, f, neighbours)),
            Combination::MultiKrum { f, keep, neighbours } => {
                let keep = keep.unwrap_or(span.len().saturating_sub(f));
                chosen(&selection::multi_krum(span, f, keep, neighbours))
            }
            Combination::Mda { f } => chosen(&selection::mda(span, f)),
            Combination::Bulyan { f } => {
                let keep = span.len().saturating_sub(4 * f).max(1);
                let rule = CoordinateRule::MeanAroundMedian { keep };
                (coordinates(rule, &selection::bulyan(span, f)), Rejection::NotSelected)
            }
            Combination::GeometricMedian { nu, iterations } => {
                (sum(&geometric_median(span, nu, iterations)), Rejection::TooLong)
            }
            Combination::CentredClipping { radius, iterations } => {
                let (weights, factors) = centred_clipping(span, radius, iterations);
                shorten(clipped, span, &factors);
                (sum(&weights), Rejection::TooLong)
            }
            Combination::FlTrust => {
                let root = root.filter(|_| self.preparations.is_empty());
                let (weights, factors) = fltrust(span, root.unwrap_or_else(|| medoid(span)));
                shorten(clipped, span, &factors);
                (sum(&weights), Rejection::AgainstRoot)
            }
        }
    }
}

/// Multiplies the factors of the updates with those of the vectors, where a vector is one update.
fn shorten(clipped: &mut [f64], span: &Span, factors: &[f64]) {
    for (vector, factor) in span.vectors.iter().zip(factors) {
        let mut parts = vector.coefficients.iter().enumerate().filter(|(_, part)| **part != 0.0);
        if let (Some((i, _)), None) = (parts.next(), parts.next()) {
            clipped[i] *= factor;
        }
    }
}

/// Returns for each update whether it has a part in the plan.
fn part_of(plan: &Plan, updates: usize) -> Vec<bool> {
    let used = |i: usize| match plan {
        Plan::Sum(coefficients) => coefficients[i] != 0.0,
        Plan::Coordinates { vectors, .. } => vectors.iter().any(|vector| vector.coefficients[i] != 0.0),
    };
    (0..updates).map(used).collect()
}
