//! Check that bytes from a peer are an update.

use super::batch::{Batch, Batches};
use super::codec_of;
use super::pipeline::{Scratch, run};
use super::reader::{Inputs, Reader};
use crate::codec::{Codec, block, float};
use crate::record::Spec;
use crate::tensor::{Source, TensorError};

/// Checks that a blob is an update of this spec: it has the right length and keeps its codec's invariants, every float is
/// finite, and every boolean is 0 or 1.
pub fn check(spec: &Spec, update: &dyn Source) -> Result<(), TensorError> {
    let codec = codec_of(spec)?;
    let update = Reader::open(spec, codec, update)?;
    let work =
        |batch: &Batch, scratch: &mut Scratch, _: &mut Vec<u8>| check_batch(spec, codec, &update, batch, scratch);
    run(Batches::of(&spec.tensors, codec), work, |(), _| Ok(()))
}

fn check_batch(
    spec: &Spec,
    codec: Codec,
    update: &Reader<'_>,
    batch: &Batch,
    scratch: &mut Scratch,
) -> Result<(), TensorError> {
    let Scratch { input, inputs, .. } = scratch;
    let Inputs { chunk, .. } = inputs;
    let coded = update.batch(batch, input, chunk)?;
    for piece in &batch.pieces {
        let coded = &coded[piece.coded.clone()];
        let found = if piece.dtype.is_float() {
            block::first_bad(codec, piece.dtype, coded)
        } else {
            float::first_bad(piece.dtype, coded).map(|at| (at, float::describe_bad(piece.dtype, &coded[at..])))
        };
        if let Some((index, problem)) = found {
            return Err(TensorError::bad(format!(
                "update: tensor {:?}: element {} is {problem}",
                spec.tensors[piece.tensor].name,
                piece.start + index as u64
            )));
        }
    }
    Ok(())
}
