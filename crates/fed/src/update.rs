//! Updates: trainers' submissions merged, differenced and coded; coded updates checked and aggregated.

use std::io::Write;

use crate::record::Spec;
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

/// Merges submissions (ascending by id: the canonical order) on the base's canonical weights and codes the update.
pub fn merge_and_encode(
    _spec: &Spec,
    _base: &dyn Source,
    _parts: &[Part<'_>],
    _out: &mut dyn Write,
) -> Result<Coded, TensorError> {
    todo!()
}

/// Whether a blob is an update of this spec: its length, its codec's invariants, every float finite.
pub fn check(_spec: &Spec, _update: &dyn Source) -> Result<(), TensorError> {
    todo!()
}

/// Aggregates updates (fresh ascending by id, then late ascending by id) onto the parent's canonical weights and writes the
/// result's canonical file. The same bits on every machine and with any number of threads.
pub fn aggregate(
    _spec: &Spec,
    _parent: &dyn Source,
    _fresh: &[Weighted<'_>],
    _late: &[Weighted<'_>],
    _out: &mut dyn Write,
) -> Result<(), TensorError> {
    todo!()
}
