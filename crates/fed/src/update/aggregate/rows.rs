//! The members' updates as rows of numbers, a short run of coordinates at a time.

use super::members::Members;
use super::part::Part;
use crate::aggregation::{RUN, Row};
use crate::codec::{Codec, Element, block};
use crate::record::Dtype;
use crate::tensor::TensorError;
use crate::update::batch::{Batch, Piece};
use crate::update::reader::Inputs;

/// Runs that are decoded together: the processor then reads 8 KiB of an update (in f32) before it turns to the next one, which
/// is a third faster than 1 KiB, and the rows of 20 members still fit into the second-level cache.
pub(super) const RUNS: usize = 8;

/// Returns the bytes of a batch of all updates. Sources in memory lend them, others are read into `inputs`.
pub(super) fn coded_bytes<'a>(
    parts: &[Part<'a>],
    batch: &Batch,
    inputs: &'a mut Inputs,
) -> Result<Vec<&'a [u8]>, TensorError> {
    let Inputs { batches, chunk } = inputs;
    if batches.len() < parts.len() {
        batches.resize_with(parts.len(), Vec::new);
    }
    let mut coded = Vec::with_capacity(parts.len());
    for (part, buffer) in parts.iter().zip(batches.iter_mut()) {
        coded.push(part.update.batch(batch, buffer, chunk)?);
    }
    Ok(coded)
}

/// A run of coordinates of one piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub dtype: Dtype,
    /// First byte of the run in the batch's coded bytes, and their number.
    coded_at: usize,
    coded_bytes: usize,
    /// Place of its first element among the batch's elements.
    pub element: usize,
    pub elements: usize,
}

/// Returns the runs of a piece of floats.
pub(super) fn runs(codec: Codec, piece: &Piece) -> impl Iterator<Item = Run> {
    let (dtype, first, coded_at, total) = (
        piece.dtype,
        piece.elements.start,
        piece.coded.start,
        piece.elements.len(),
    );
    (0..total).step_by(RUN).map(move |at| {
        let elements = RUN.min(total - at);
        Run {
            dtype,
            coded_at: coded_at + codec.run_bytes(dtype, at),
            coded_bytes: codec.run_bytes(dtype, elements),
            element: first + at,
            elements,
        }
    })
}

/// Decodes some runs of every member's update into `rows`, with zeros behind them: first the rows of all members of the first
/// run. `sum` is a buffer.
pub(super) fn decode<E: Element>(
    codec: Codec,
    members: &Members,
    coded: &[&[u8]],
    runs: &[Run],
    rows: &mut Vec<Row<E>>,
    sum: &mut Vec<f64>,
) {
    rows.resize(runs.len() * members.len(), [E::ZERO; _]);
    for (i, member) in members.iter().enumerate() {
        for (run, rows) in runs.iter().zip(rows.chunks_mut(members.len())) {
            let bytes = |i: usize| &coded[i][run.coded_at..run.coded_at + run.coded_bytes];
            let (row, behind) = rows[i].split_at_mut(run.elements);
            behind.fill(E::ZERO);
            if let [only] = &member.parts[..]
                && only.weight() == 1.0
            {
                block::decode_elements(codec, run.dtype, bytes(only.index), row);
                continue;
            }
            let parts: Vec<_> = member
                .parts
                .iter()
                .map(|part| (bytes(part.index), part.weight()))
                .collect();
            sum.clear();
            sum.resize(run.elements, 0.0);
            block::accumulate_all(codec, run.dtype, sum, &parts);
            for (x, sum) in row.iter_mut().zip(&*sum) {
                *x = E::from_f64(*sum);
            }
        }
    }
}
