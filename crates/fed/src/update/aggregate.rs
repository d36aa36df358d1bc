//! Aggregation of contributions into a checkpoint's weights.

use std::io::Write;

use rayon::prelude::*;

use super::batch::{BATCH_ELEMENTS, Batch, Batches};
use super::pipeline::{Scratch, bytes_at, run};
use super::{Weighted, check_length, codec_of, integer};
use crate::codec::{Codec, block, float};
use crate::record::Spec;
use crate::strategy;
use crate::tensor::{Layout, Source, TensorError};

/// Number of updates that are added in one pass. The sums go through the caches once for the whole group, and the updates'
/// bytes (32 KiB each in bf16) still fit into the second-level cache.
const GROUP: usize = 8;

/// Returns the factor for a late contribution's samples: `1 / sqrt(1 + staleness)`, as in FedBuff (Nguyen et al. 2022,
/// "Federated learning with buffered asynchronous aggregation"). Square root and quotient are those of IEEE 754, so they
/// are the same on every machine.
pub fn late_discount(staleness: u32) -> f64 {
    1.0 / (1.0 + f64::from(staleness)).sqrt()
}

/// Aggregates updates (fresh ones ascending by id, then late ones ascending by id) onto the parent's canonical weights and
/// writes the result's canonical file. The bits are the same on every machine and with any number of threads.
///
/// Floats: `result = parent + sum of p_i * update_i` with `p_i = n_i / (sum of all n)`. For a fresh contribution `n_i` is
/// its sample count (FedAvg: McMahan et al. 2017, algorithm 1, in the form of differences). For a late one `n_i` is its
/// sample count times [`late_discount`]; its update is added as a difference, although it was trained on an older
/// checkpoint. Each coordinate's sum runs in f64 in the order given. Product and sum are rounded separately (no fused
/// multiply-add). The parent is added last, in f64, and the result is rounded once to the tensor's dtype, ties to even. A
/// value beyond the largest finite value becomes that value: an aggregate is never infinite.
///
/// Integers: the elementwise maximum of the fresh contributions' values (BatchNorm's counters only grow, and a maximum does
/// not depend on the order). Booleans: "or". Late contributions' integers and booleans are ignored, because they belong to
/// an older parent.
///
/// # Errors
/// Returns an error if the strategy or codec is unknown, if the parent is not the canonical file, if an update has not the
/// length that the spec determines, or if no fresh contribution has samples.
pub fn aggregate(
    spec: &Spec,
    parent: &dyn Source,
    fresh: &[Weighted<'_>],
    late: &[Weighted<'_>],
    out: &mut dyn Write,
) -> Result<(), TensorError> {
    strategy::check(&spec.strategy).map_err(|error| TensorError::bad(error.to_string()))?;
    let codec = codec_of(spec)?;
    let layout = Layout::of(&spec.tensors);
    layout.check(parent)?;
    let parts = weights(fresh, late)?;
    for part in &parts {
        check_length(spec, codec, part.update)?;
    }
    let job = Aggregate {
        codec,
        parent,
        parent_at: layout.header().len() as u64,
        parts,
        fresh: fresh.len(),
    };
    out.write_all(layout.header())?;
    let work = |batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>| job.batch(batch, scratch, out);
    run(Batches::of(&spec.tensors, codec), work, |(), bytes| {
        Ok(out.write_all(bytes)?)
    })
}

/// Averages updates of f32 in memory by [`aggregate`]'s rule for floats: `out = base + sum of n_i / n * update_i`, with the
/// same bits, on all threads. If all samples are 0, `out` becomes `base`.
///
/// # Panics
/// Panics if the lengths differ, which is a mistake in the calling code.
pub fn average(base: &[f32], updates: &[(&[f32], u64)], out: &mut [f32]) {
    let same = |slice: &[f32]| slice.len() == base.len();
    assert!(
        same(out) && updates.iter().all(|(x, _)| same(x)),
        "updates, base and result have one length"
    );
    let total: f64 = updates.iter().fold(0.0, |sum, (_, samples)| sum + *samples as f64);
    let weight = |samples: u64| if total > 0.0 { samples as f64 / total } else { 0.0 };
    let batch = |sum: &mut Vec<f64>, (i, out): (usize, &mut [f32])| {
        let range = i * BATCH_ELEMENTS..i * BATCH_ELEMENTS + out.len();
        sum.clear();
        sum.resize(out.len(), 0.0);
        let part = |i: usize| (&updates[i].0[range.clone()], weight(updates[i].1));
        float::accumulate_elements(sum, updates.len(), part, f64::from);
        for (out, (base, sum)) in out.iter_mut().zip(base[range].iter().zip(&*sum)) {
            *out = float::to_f32(f64::from(*base) + sum);
        }
    };
    out.par_chunks_mut(BATCH_ELEMENTS)
        .enumerate()
        .for_each_init(Vec::new, batch);
}

/// An update and its weight in the result; the weights of all shares add up to 1.
struct Share<'a> {
    update: &'a dyn Source,
    weight: f64,
}

/// Returns the shares in the order given, fresh ones first. Counts of up to 2^40 of up to 1,024 contributions add up
/// exactly in f64; discounted counts are rounded, in that order.
fn weights<'a>(fresh: &[Weighted<'a>], late: &[Weighted<'a>]) -> Result<Vec<Share<'a>>, TensorError> {
    if fresh.iter().all(|part| part.samples == 0) {
        return Err(TensorError::bad(format!(
            "samples: 0 over {} fresh contributions, at least 1 is needed: they are the weights",
            fresh.len()
        )));
    }
    let fresh = fresh.iter().map(|part| (part.update, part.samples as f64));
    let late = late
        .iter()
        .map(|part| (part.update, part.samples as f64 * late_discount(part.staleness)));
    let counts: Vec<_> = fresh.chain(late).collect();
    let total: f64 = counts.iter().fold(0.0, |sum, (_, count)| sum + count);
    Ok(counts
        .into_iter()
        .map(|(update, count)| Share {
            update,
            weight: count / total,
        })
        .collect())
}

struct Aggregate<'a> {
    codec: Codec,
    parent: &'a dyn Source,
    parent_at: u64,
    /// The shares of all contributions, those of fresh ones first.
    parts: Vec<Share<'a>>,
    fresh: usize,
}

impl Aggregate<'_> {
    fn batch(&self, batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<(), TensorError> {
        let Scratch { base, inputs, sum, .. } = scratch;
        let bytes = batch.plain_bytes();
        out.resize(bytes, 0);
        sum.clear();
        sum.resize(batch.elements(), 0.0);
        inputs.resize_with(GROUP, Vec::new);
        for (i, group) in self.parts.chunks(GROUP).enumerate() {
            let mut coded = [&[][..]; GROUP];
            for ((coded, part), buffer) in coded.iter_mut().zip(group).zip(inputs.iter_mut()) {
                *coded = bytes_at(part.update, batch.coded_at, batch.coded_bytes(), buffer)?;
            }
            self.add_group(batch, i * GROUP, &coded[..group.len()], sum, out);
        }
        let base = bytes_at(self.parent, self.parent_at + batch.plain_at, bytes, base)?;
        for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
            let (base, out) = (&base[piece.plain.clone()], &mut out[piece.plain.clone()]);
            float::add_rounded(piece.dtype, base, &sum[piece.elements.clone()], out);
        }
        Ok(())
    }

    /// Adds the batch's part of the updates from index `first` on: floats to `sum`, fresh integers and booleans to `out`.
    fn add_group(&self, batch: &Batch, first: usize, coded: &[&[u8]], sum: &mut [f64], out: &mut [u8]) {
        for piece in &batch.pieces {
            if piece.dtype.is_float() {
                let mut parts = [(&[][..], 0.0); GROUP];
                for (i, (part, coded)) in parts.iter_mut().zip(coded).enumerate() {
                    *part = (&coded[piece.coded.clone()], self.parts[first + i].weight);
                }
                let sum = &mut sum[piece.elements.clone()];
                block::accumulate_all(self.codec, piece.dtype, sum, &parts[..coded.len()]);
                continue;
            }
            let out = &mut out[piece.plain.clone()];
            for (i, coded) in (first..self.fresh).zip(coded) {
                let coded = &coded[piece.coded.clone()];
                if i == 0 {
                    out.copy_from_slice(coded);
                } else {
                    integer::keep_largest(piece.dtype, out, coded);
                }
            }
        }
    }
}
