//! Updates: trainers' submissions merged, differenced and coded; coded updates checked and aggregated.
//!
//! Everything here goes through the model a batch of [`batch::BATCH_ELEMENTS`] elements at a time: memory is a constant
//! (some hundred KiB a thread, twice), whatever the model's size, and the threads share out batches, never
//! contributions, so that no result depends on their number.

mod aggregate;
mod batch;
mod check;
mod fidelity;
mod integer;
mod merge;
mod pipeline;

pub use aggregate::{aggregate, average, late_discount};
pub use check::check;
pub use merge::merge_and_encode;

pub(crate) use fidelity::Moments;

use crate::codec::Codec;
use crate::record::{Spec, SpecError};
use crate::tensor::{Source, TensorError};

/// One submission to merge: a checked safetensors file.
pub struct Part<'a> {
    /// The file.
    pub file: &'a dyn Source,
    /// Its weight.
    pub samples: u64,
    /// Already a difference, not full weights.
    pub delta: bool,
}

/// What coding reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coded {
    /// Bytes written.
    pub bytes: u64,
    /// Squared cosine of the update and its reconstruction: 1 for a zero update sent as zero.
    pub fidelity: f32,
    /// Sum of the parts' samples, capped at `SAMPLES_MAX`.
    pub samples: u64,
}

/// A coded update and its weight.
pub struct Weighted<'a> {
    /// The coded update, already checked with [`check`].
    pub update: &'a dyn Source,
    /// Its weight.
    pub samples: u64,
    /// Rounds behind: 0 for a fresh one, else at least 1.
    pub staleness: u32,
}

fn codec_of(spec: &Spec) -> Result<Codec, TensorError> {
    Codec::of(&spec.codec).map_err(|error: SpecError| TensorError::bad(error.to_string()))
}

/// Bytes of every coded update of this spec.
///
/// # Errors
/// When its codec is unknown.
pub fn coded_bytes(spec: &Spec) -> Result<u64, TensorError> {
    Ok(codec_of(spec)?.coded_bytes(&spec.tensors))
}

/// Whether a coded update has the one length that schema and codec give it.
fn check_length(spec: &Spec, codec: Codec, update: &dyn Source) -> Result<(), TensorError> {
    let expected = codec.coded_bytes(&spec.tensors);
    if update.len() == expected {
        return Ok(());
    }
    Err(TensorError::bad(format!(
        "update: {expected} bytes expected for this model's {} tensors coded with {}, {} found: it is cut \
         off, or coded for another spec",
        spec.tensors.len(),
        codec.id(),
        update.len()
    )))
}

#[cfg(test)]
mod tests;
