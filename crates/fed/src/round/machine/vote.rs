//! This node's votes. They only go up, so that two branches never both settle a round.

use crate::id::CheckpointId;
use crate::record::Contribution;
use crate::round::machine::Machine;
use crate::round::table::vote::Vote;

impl Machine {
    /// Gives this node's vote for a checkpoint: the newest round below it, on its branch, that is known as confirmed. Returns
    /// `None` if the vote would contradict an earlier one. Votes go up: a node votes for at most one checkpoint of a round, and
    /// names no source below one that it named before. So two branches never both settle a round (docs/adr/0007).
    pub(in crate::round) fn vote_for(&mut self, checkpoint: &CheckpointId) -> Option<u64> {
        let node = self.history.tree.get(checkpoint)?;
        let parent = self.history.tree.get(&node.parent?)?;
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

    /// Remembers the vote in a [`Contribution`] of this node, also if it came back from the store or from a peer.
    pub(in crate::round) fn remember_vote(&mut self, c: &Contribution) {
        let Some(source) = c.source else { return };
        let target = c.round.saturating_sub(1);
        let last = self.submissions.last_vote.get_or_insert(Vote { target, source });
        last.target = last.target.max(target);
        last.source = last.source.max(source);
    }
}
