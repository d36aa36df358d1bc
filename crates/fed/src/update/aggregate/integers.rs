//! Integers and booleans in an aggregate.

use super::part::Part;
use crate::tensor::TensorError;
use crate::update::batch::Batch;
use crate::update::integer;

/// The rule for tensors of integers and booleans, which have no mean. Only fresh contributions count: the values of late ones
/// belong to an older parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integers {
    /// The largest value, for booleans "or": BatchNorm's counters only grow. For the plain mean.
    Largest,
    /// The middle value (of two the larger one), for booleans the majority: one liar changes nothing. For all other rules.
    Middle,
}

impl Integers {
    /// Writes the batch's integers and booleans to `out`.
    pub fn write(
        self,
        batch: &Batch,
        parts: &[Part<'_>],
        buffers: &mut Vec<Vec<u8>>,
        out: &mut [u8],
    ) -> Result<(), TensorError> {
        let fresh: Vec<_> = parts.iter().filter(|part| part.is_fresh()).collect();
        for piece in batch.pieces.iter().filter(|piece| !piece.dtype.is_float()) {
            if buffers.len() < fresh.len() {
                buffers.resize_with(fresh.len(), Vec::new);
            }
            let mut values = Vec::with_capacity(fresh.len());
            for (part, buffer) in fresh.iter().zip(buffers.iter_mut()) {
                values.push(part.update.integers(batch, piece, buffer)?);
            }
            let out = &mut out[piece.plain.clone()];
            match self {
                Self::Middle => integer::middle(piece.dtype, &values, out),
                Self::Largest => {
                    for (i, value) in values.into_iter().enumerate() {
                        if i == 0 {
                            out.copy_from_slice(value);
                        } else {
                            integer::keep_largest(piece.dtype, out, value);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
