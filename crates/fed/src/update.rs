//! Updates: trainers' submissions are merged, differenced and coded; coded updates are checked and aggregated.
//!
//! All functions here go through the model in batches of `BATCH_ELEMENTS` (2^14) elements. Their memory is therefore a
//! constant (some hundred KiB for each thread, twice) that does not depend on the model's size. Threads share out batches,
//! never contributions, so no result depends on the number of threads.
//!
//! `tcq/1` goes through an update twice, because its step depends on the whole of it: the first pass measures, the second one
//! codes. In between 2^19 samples are in memory. Of each update that is read, a few bytes for each batch are kept, and up to
//! 256 KiB of tables.

mod aggregate;
mod average;
mod batch;
mod check;
mod chunks;
mod encode;
mod fidelity;
mod integer;
mod measure;
mod merge;
mod noise;
mod pipeline;
mod reader;
mod source;

pub use aggregate::{Outputs, Parent, aggregate};
pub use average::average;
pub use check::check;
pub use encode::{encode_zeros, merge_and_encode, merge_and_encode_privately};
pub use noise::NoiseKey;

pub(crate) use fidelity::Moments;

use crate::codec::Codec;
use crate::id::NodeId;
use crate::record::{Figures, Spec, SpecError};
use crate::tensor::{Source, TensorError};

/// A submission for [`merge_and_encode`]: a checked safetensors file.
pub struct Part<'a> {
    /// The submission's file.
    pub file: &'a dyn Source,
    /// The submission's weight: its number of training samples.
    pub samples: u64,
    /// Number of its local steps, if its trainer said it; see [`Report::steps`](crate::record::Report).
    pub steps: Option<f64>,
    /// True if the file holds a difference to the base, false if it holds full weights.
    pub delta: bool,
}

/// Result of [`merge_and_encode`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coded {
    /// Number of bytes written.
    pub bytes: u64,
    /// Fidelity of the coded update, 0 to 1: `1 - |x - y|^2 / |x|^2` for an update x that is decoded as y; 1 for a zero
    /// update sent as zero.
    pub fidelity: f32,
    /// Sum of the parts' samples, at most [`SAMPLES_MAX`](crate::record::SAMPLES_MAX).
    pub samples: u64,
}

/// A coded update for [`aggregate()`] and its weight.
pub struct Weighted<'a> {
    /// The coded update, already checked with [`check()`].
    pub update: &'a dyn Source,
    /// The node that made it.
    pub author: NodeId,
    /// The update's weight: its number of training samples.
    pub samples: u64,
    /// Rounds that the contribution is behind: 0 for a fresh one, at least 1 for a late one.
    pub staleness: u32,
    /// What its author says about its work, as far as the strategy uses it.
    pub figures: Figures,
}

fn codec_of(spec: &Spec) -> Result<Codec, TensorError> {
    Codec::of(&spec.codec).map_err(|error: SpecError| TensorError::bad(error.to_string()))
}

/// Returns the most bytes that a coded update of this spec has. All have this number, except with `tcq/1`.
///
/// # Errors
/// Returns an error if the spec's codec is unknown.
pub fn coded_bytes(spec: &Spec) -> Result<u64, TensorError> {
    Ok(codec_of(spec)?.coded_bytes(&spec.tensors))
}

#[cfg(test)]
mod tests;
