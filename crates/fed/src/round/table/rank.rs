//! The order of heads among checkpoints.

use std::cmp::Reverse;

use crate::id::CheckpointId;

/// The rank of a checkpoint in the order of heads, ascending. It compares the newest confirmed round on its branch, its round,
/// the contributions on it up to the quorum, the fresh ones it lists, and the lower id. It is a function of the records alone.
///
/// The confirmed round comes first (docs/adr/0001): with k at or above the quorum every seal confirms its parent, and the round
/// decides as ever. With a smaller k a minority that ran ahead alone comes back to what the majority confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::round) struct Rank {
    pub confirmed: u64,
    pub round: u64,
    pub votes: usize,
    pub fresh: usize,
    pub id: Reverse<CheckpointId>,
}
