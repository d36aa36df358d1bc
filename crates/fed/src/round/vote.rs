//! This node's votes: they go up, so that two branches never both settle a round.

use super::machine::Machine;
use crate::id::CheckpointId;
use crate::record::Contribution;

/// A vote for a checkpoint, by rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vote {
    /// The checkpoint's.
    pub target: u64,
    /// The newest one below it that was known as confirmed.
    pub source: u64,
}

impl Machine {
    /// This node's vote for a checkpoint: the newest round below it, on its branch, that is known as confirmed; `None` where a
    /// vote would contradict an earlier one. Votes go up: a node votes for at most one checkpoint of a round, and names no
    /// source below one that it named before. So two branches never both settle a round (docs/adr/0007).
    pub(super) fn vote_for(&mut self, checkpoint: &CheckpointId) -> Option<u64> {
        let node = self.tree.get(checkpoint)?;
        let parent = self.tree.get(&node.parent?)?;
        let vote = Vote {
            target: node.round,
            source: parent.confirmed,
        };
        let last = self.submissions.last_vote;
        if last.is_some_and(|last| vote.target <= last.target || vote.source < last.source) {
            return None;
        }
        self.submissions.last_vote = Some(vote);
        Some(vote.source)
    }

    /// A contribution of this node came back from the store or from a peer: its vote was given.
    pub(super) fn remember_vote(&mut self, c: &Contribution) {
        let Some(source) = c.source else { return };
        let target = c.round.saturating_sub(1);
        let last = self.submissions.last_vote.get_or_insert(Vote { target, source });
        last.target = last.target.max(target);
        last.source = last.source.max(source);
    }
}
