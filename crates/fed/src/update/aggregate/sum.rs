//! The weighted sum of updates: the mean, and every rule whose result is a sum.

use super::integers::Integers;
use super::outputs::Outputs;
use super::part::Part;
use super::step::Step;
use crate::codec::{Codec, block};
use crate::record::Spec;
use crate::tensor::TensorError;
use crate::update::batch::{Batch, Batches};
use crate::update::pipeline::{Scratch, run};
use crate::update::reader::Inputs;

/// Number of updates that are added in one pass. The sums go through the caches once for the whole group, and the updates'
/// bytes (32 KiB each in bf16) still fit into the second-level cache.
const GROUP: usize = 8;

/// A weighted sum of updates.
pub(super) struct Sum<'a> {
    pub spec: &'a Spec,
    pub codec: Codec,
    pub step: &'a Step<'a>,
    /// The updates, those of fresh contributions first, each with its weight.
    pub parts: &'a [Part<'a>],
    pub weights: &'a [f64],
    pub integers: Integers,
}

impl Sum<'_> {
    /// Writes the canonical file of the parent with the sum added to it.
    pub fn write(&self, out: &mut Outputs<'_>) -> Result<(), TensorError> {
        self.step.begin(out)?;
        let work = |batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>| {
            self.batch(batch, scratch, out).map(|()| batch.plain_bytes())
        };
        run(Batches::of(&self.spec.tensors, self.codec), work, |plain, bytes| {
            self.step.write(plain, bytes, out)
        })
    }

    fn batch(&self, batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<(), TensorError> {
        let Scratch { inputs, sum, step, .. } = scratch;
        out.resize(batch.plain_bytes(), 0);
        sum.clear();
        sum.resize(batch.elements(), 0.0);
        let Inputs { batches, chunk } = inputs;
        batches.resize_with(GROUP, Vec::new);
        // Krum's sum has one update with a weight: the others are not read again.
        let weighted = self
            .parts
            .iter()
            .zip(self.weights)
            .filter(|(_, weight)| **weight != 0.0);
        let weighted: Vec<_> = weighted.collect();
        for group in weighted.chunks(GROUP) {
            let mut coded = [(&[][..], 0.0); GROUP];
            for ((coded, (part, weight)), buffer) in coded.iter_mut().zip(group).zip(batches.iter_mut()) {
                let bytes = part.update.batch(batch, buffer, chunk)?;
                *coded = (bytes, **weight);
            }
            self.add_group(batch, &coded[..group.len()], sum);
        }
        self.integers.write(batch, self.parts, batches, out)?;
        self.step.batch(batch, sum, step, out)
    }

    /// Adds the floats of a group of updates, each with its weight, to `sum`.
    fn add_group(&self, batch: &Batch, coded: &[(&[u8], f64)], sum: &mut [f64]) {
        for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
            let mut parts = [(&[][..], 0.0); GROUP];
            for (part, (coded, weight)) in parts.iter_mut().zip(coded) {
                *part = (&coded[piece.coded.clone()], *weight);
            }
            let sum = &mut sum[piece.elements.clone()];
            block::accumulate_all(self.codec, piece.dtype, sum, &parts[..coded.len()]);
        }
    }
}
