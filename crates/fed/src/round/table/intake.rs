//! What decides which records are taken in, and the records that are next.

use std::collections::{BTreeSet, VecDeque};

use crate::id::{CheckpointId, NodeId};
use crate::round::table::claims::Claims;
use crate::round::table::queued::Queued;
use crate::round::table::shares::Shares;

/// What decides which records are taken in, and the records that are next.
#[derive(Debug)]
pub(in crate::round) struct Intake {
    /// Records that became welcome; they are worked off before any decision.
    pub queue: VecDeque<Queued>,
    pub claims: Claims,
    pub shares: Shares,
    /// Nodes that an operator trusts.
    pub trusted: BTreeSet<NodeId>,
    /// True while the store is read back: its records were within bounds when they were written.
    pub restoring: bool,
    /// Checkpoints that are verified according to the store, until their seals are read.
    pub known_verified: BTreeSet<CheckpointId>,
}

impl Intake {
    /// Makes the intake of a machine whose store is about to be read back.
    pub fn new(is_open: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            claims: Claims::default(),
            shares: Shares::new(is_open),
            trusted: BTreeSet::new(),
            restoring: true,
            known_verified: BTreeSet::new(),
        }
    }
}
