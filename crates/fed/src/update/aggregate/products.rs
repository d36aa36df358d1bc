//! The first pass of rules that compare updates: the inner products of all pairs.

use super::members::Members;
use super::part::Part;
use super::rows::{RUNS, coded_bytes, decode, runs};
use crate::aggregation::Gram;
use crate::codec::Codec;
use crate::record::Spec;
use crate::tensor::TensorError;
use crate::update::batch::{Batch, Batches};
use crate::update::pipeline::{Scratch, run_in};

/// Products of batches that wait for their turn to be added, twice: 64 MiB.
const PRODUCTS_AT_ONCE: usize = 4 << 20;

/// Returns the inner products of the members' updates over all float tensors, row by row. Each batch is summed for itself, and
/// the batches are added in their order.
pub(super) fn of_members(
    spec: &Spec,
    codec: Codec,
    parts: &[Part<'_>],
    members: &Members,
) -> Result<Vec<f64>, TensorError> {
    let mut total = Gram::new(members.len());
    let work = |batch: &Batch, scratch: &mut Scratch, _: &mut Vec<u8>| {
        let Scratch { inputs, sum, rows, .. } = scratch;
        let coded = coded_bytes(parts, batch, inputs)?;
        let mut gram = Gram::new(members.len());
        for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
            for runs in runs(codec, piece).collect::<Vec<_>>().chunks(RUNS) {
                decode(codec, members, &coded, runs, rows, sum);
                rows.chunks(members.len()).for_each(|rows| gram.add_run(rows));
            }
        }
        gram.settle();
        Ok(gram)
    };
    let window = PRODUCTS_AT_ONCE / (members.len() * members.len()).max(1);
    let batches = Batches::of(&spec.tensors, codec).for_updates(parts.len());
    run_in(window, batches, work, |gram: Gram, _| {
        total.add(&gram);
        Ok(())
    })?;
    Ok(total.into_matrix())
}
