//! The way from a leaf back to what is verified.

use std::collections::VecDeque;

use crate::id::CheckpointId;

/// The unverified checkpoints on the way from a leaf (first) back to a verified checkpoint, which is not included.
pub(in crate::round) type Path = VecDeque<CheckpointId>;
