//! The pass of rules that combine updates coordinate by coordinate.

use super::distance::{distance2, round};
use super::integers::Integers;
use super::making::Making;
use super::members::Members;
use super::outcome::Outcome;
use super::outputs::Outputs;
use super::part::Part;
use super::rows::{RUNS, Run, coded_bytes, decode, runs};
use super::step::Step;
use crate::aggregation::{CoordinateRule, Kernel, Number, Vector};
use crate::codec::Codec;
use crate::record::{Dtype, Spec};
use crate::tensor::TensorError;
use crate::update::batch::{Batch, Batches};
use crate::update::pipeline::{Rows, Scratch, run};

/// A combination of vectors coordinate by coordinate.
pub(super) struct Coordinates<'a> {
    spec: &'a Spec,
    codec: Codec,
    step: &'a Step<'a>,
    parts: &'a [Part<'a>],
    members: &'a Members,
    /// The vectors in the span of the members' updates.
    vectors: &'a [Vector],
    /// How each of the vectors is made; empty if they are the members' updates.
    makings: Vec<Making>,
    kernel: Kernel,
    integers: Integers,
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
        let mut makings: Vec<Making> = vectors.iter().map(Making::of).collect();
        let own = |(i, making): (usize, &Making)| matches!(making, Making::Member(member) if *member == i);
        if makings.len() == members.len() && makings.iter().enumerate().all(own) {
            makings.clear();
        }
        Self {
            spec,
            codec,
            step,
            parts,
            members,
            vectors,
            makings,
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
        self.integers.write(batch, self.parts, &mut inputs.batches, out)?;
        decoded.clear();
        decoded.resize(batch.elements(), 0.0);
        let coded = coded_bytes(self.parts, batch, inputs)?;
        let mut tally = self.empty_tally();
        for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
            for runs in runs(self.codec, piece).collect::<Vec<_>>().chunks(RUNS) {
                match piece.dtype {
                    Dtype::F64 => self.combine(&coded, runs, doubles, sum, decoded, &mut tally),
                    _ => self.combine(&coded, runs, singles, sum, decoded, &mut tally),
                }
            }
        }
        self.step.batch(batch, decoded, step, out)?;
        Ok(tally)
    }

    /// Combines some runs of coordinates into `results`, which has a place for all elements of the batch.
    fn combine<E: Number>(
        &self,
        coded: &[&[u8]],
        runs: &[Run],
        rows: &mut Rows<E>,
        sum: &mut Vec<f64>,
        results: &mut [f64],
        tally: &mut Tally,
    ) {
        let Rows {
            members,
            mixed,
            buffers,
        } = rows;
        decode(self.codec, self.members, coded, runs, members, sum);
        for (run, members) in runs.iter().zip(members.chunks(self.members.len())) {
            let vectors = match &self.makings[..] {
                [] => members,
                makings => {
                    mixed.resize(makings.len(), [E::ZERO; _]);
                    for (making, row) in makings.iter().zip(&mut *mixed) {
                        making.make(members, row);
                    }
                    &*mixed
                }
            };
            let result = &mut results[run.element..run.element + run.elements];
            self.kernel.run(vectors, buffers, result, &mut tally.kept);
            let mut rounded = [E::ZERO; _];
            round(result, &mut rounded);
            for (row, sum) in members.iter().zip(&mut tally.distances2) {
                *sum += distance2(row, result, &rounded);
            }
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
