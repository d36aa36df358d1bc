//! The search for a branch that parts from this node's branch below the horizon.

use std::collections::BTreeSet;

use crate::id::CheckpointId;
use crate::round::table::taken_back::TakenBack;

/// The search for an unknown checkpoint that a quorum stands on.
#[derive(Debug, Default)]
pub(in crate::round) struct Search {
    /// Round and id of an unknown checkpoint that a quorum stands on. While it is set, branches
    /// from below the horizon are let in to find it.
    pub attested: Option<(u64, CheckpointId)>,
    /// The rounds of the archive that were read to find that checkpoint.
    pub taken_back: TakenBack,
    /// The checkpoints that were let in to find it.
    pub doubted: BTreeSet<CheckpointId>,
}
