//! The pass of rules that combine updates coordinate by coordinate.

use super::Outputs;
use super::integers::Integers;
use super::members::Members;
use super::outcome::Outcome;
use super::part::Part;
use super::rows::{Run, coded_bytes, decode, runs};
use super::step::Step;
use crate::aggregation::{CoordinateRule, Kernel, Vector};
use crate::codec::{Codec, Element};
use crate::record::{Dtype, Spec};
use crate::tensor::TensorError;
use crate::update::batch::{Batch, Batches};
use crate::update::pipeline::{Rows, Scratch, run};

/// Lanes in which a squared distance is summed; the order is fixed.
const LANES: usize = 8;

/// A combination of vectors coordinate by coordinate.
pub(super) struct Coordinates<'a> {
    spec: &'a Spec,
    codec: Codec,
    step: &'a Step<'a>,
    parts: &'a [Part<'a>],
    members: &'a Members,
    /// The vectors in the span of the members' updates.
    vectors: &'a [Vector],
    /// How each of the vectors is made.
    makings: Vec<Making>,
    kernel: Kernel,
    integers: Integers,
}

/// How a vector is made of the members' updates.
enum Making {
    /// It is the update of this member.
    Member(usize),
    /// It is the sum of these members' updates with these coefficients.
    Sum(Vec<(usize, f64)>),
}

impl Making {
    fn of(vector: &Vector) -> Self {
        let terms = vector.coefficients.iter().copied().enumerate();
        let terms: Vec<_> = terms.filter(|(_, coefficient)| *coefficient != 0.0).collect();
        match terms[..] {
            [(member, 1.0)] => Self::Member(member),
            _ => Self::Sum(terms),
        }
    }
}

/// Counts and sums of one batch.
#[derive(Debug, Default)]
struct Tally {
    kept: Vec<u64>,
    distances2: Vec<f64>,
}

impl<'a> Coordinates<'a> {
    /// Makes the combination of these vectors by a rule.
    pub fn new(
        (spec, codec): (&'a Spec, Codec),
        step: &'a Step<'a>,
        parts: &'a [Part<'a>],
        members: &'a Members,
        (rule, vectors): (CoordinateRule, &'a [Vector]),
        integers: Integers,
    ) -> Self {
        let shares: Vec<f64> = vectors.iter().map(|vector| vector.share).collect();
        Self {
            spec,
            codec,
            step,
            parts,
            members,
            vectors,
            makings: vectors.iter().map(Making::of).collect(),
            kernel: Kernel::new(rule, &shares),
            integers,
        }
    }

    /// Writes the canonical file of the parent with the aggregated update added to it.
    pub fn write(&self, out: &mut Outputs<'_>) -> Result<Outcome, TensorError> {
        self.step.begin(out)?;
        let work = |batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>| {
            self.batch(batch, scratch, out)
                .map(|tally| (tally, batch.plain_bytes()))
        };
        let mut total = self.empty_tally();
        run(
            Batches::of(&self.spec.tensors, self.codec).for_updates(self.parts.len()),
            work,
            |(tally, plain): (Tally, usize), bytes| {
                total.kept.iter_mut().zip(tally.kept).for_each(|(sum, x)| *sum += x);
                total
                    .distances2
                    .iter_mut()
                    .zip(tally.distances2)
                    .for_each(|(sum, x)| *sum += x);
                self.step.write(plain, bytes, out)
            },
        )?;
        Ok(Outcome {
            weights: self.weights(&total.kept),
            distances2: total.distances2,
        })
    }

    fn empty_tally(&self) -> Tally {
        Tally {
            kept: vec![0; self.vectors.len()],
            distances2: vec![0.0; self.members.len()],
        }
    }

    fn batch(&self, batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<Tally, TensorError> {
        let Scratch {
            step,
            inputs,
            sum,
            decoded,
            singles,
            doubles,
            ..
        } = scratch;
        out.resize(batch.plain_bytes(), 0);
        self.integers.write(batch, self.parts, inputs, out)?;
        decoded.clear();
        decoded.resize(batch.elements(), 0.0);
        let coded = coded_bytes(self.parts, batch, inputs)?;
        let mut tally = self.empty_tally();
        for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
            for run in runs(self.codec, piece) {
                let result = &mut decoded[run.element..run.element + run.elements];
                match run.dtype {
                    Dtype::F64 => self.combine(&coded, &run, doubles, sum, result, &mut tally),
                    _ => self.combine(&coded, &run, singles, sum, result, &mut tally),
                }
            }
        }
        self.step.batch(batch, decoded, step, out)?;
        Ok(tally)
    }

    /// Combines one run of coordinates into `result`.
    fn combine<E: Element>(
        &self,
        coded: &[&[u8]],
        run: &Run,
        rows: &mut Rows<E>,
        sum: &mut Vec<f64>,
        result: &mut [f64],
        tally: &mut Tally,
    ) {
        decode(self.codec, self.members, coded, run, &mut rows.members, sum);
        rows.mixed.resize_with(self.vectors.len(), Vec::new);
        for (making, mixed) in self.makings.iter().zip(&mut rows.mixed) {
            if let Making::Sum(terms) = making {
                mix(&rows.members, terms, run.elements, mixed);
            }
        }
        let row = |(making, mixed)| match making {
            &Making::Member(member) => rows.members[member].as_slice(),
            Making::Sum(_) => Vec::as_slice(mixed),
        };
        let vectors: Vec<&[E]> = self.makings.iter().zip(&rows.mixed).map(row).collect();
        self.kernel.run(&vectors, &mut rows.buffers, result, &mut tally.kept);
        for (row, sum) in rows.members.iter().zip(&mut tally.distances2) {
            *sum += distance2(row, result);
        }
    }

    /// Returns the mean weight of each member in the result, from the number of coordinates in which each vector was kept.
    fn weights(&self, kept: &[u64]) -> Vec<f64> {
        let mut weights = vec![0.0; self.members.len()];
        for (vector, of_vector) in self.vectors.iter().zip(self.kernel.weights(kept)) {
            for (weight, coefficient) in weights.iter_mut().zip(&vector.coefficients) {
                *weight += of_vector * coefficient;
            }
        }
        weights
    }
}

/// Writes the sum of the rows with these coefficients to `out`.
fn mix<E: Element>(rows: &[Vec<E>], terms: &[(usize, f64)], elements: usize, out: &mut Vec<E>) {
    out.clear();
    out.resize(elements, E::ZERO);
    for (member, coefficient) in terms {
        add(out, *coefficient, &rows[*member]);
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add<E: Element>(sum: &mut [E], coefficient: f64, row: &[E]) {
    for (sum, x) in sum.iter_mut().zip(row) {
        *sum = sum.plus(coefficient, *x);
    }
}

/// Returns the squared distance of a row to the result.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn distance2<E: Element>(row: &[E], result: &[f64]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let (row, result) = (row.as_chunks::<LANES>(), result.as_chunks::<LANES>());
    for (x, z) in row.0.iter().zip(result.0) {
        for l in 0..LANES {
            let difference = x[l].to_f64() - z[l];
            lanes[l] += difference * difference;
        }
    }
    for (lane, (x, z)) in lanes.iter_mut().zip(row.1.iter().zip(result.1)) {
        let difference = x.to_f64() - z;
        *lane += difference * difference;
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane)
}
