//! The end of a run: the last checkpoint that is trained for, and the rounds that settle it.
//!
//! A checkpoint is confirmed by contributions on it, and settled by those of the round after. So the last one is followed by
//! closing rounds: each member contributes an update of zeros by itself, as its vote, and the result of such a round is what its
//! parent holds. When the last checkpoint is settled (in an open model: confirmed), the run is complete and no more rounds begin.

use crate::id::CheckpointId;
use crate::record::{Content, Proposal};
use crate::round::CheckpointInfo;
use crate::round::machine::Machine;
use crate::round::machine::limits::MARGIN_ROUNDS;
use crate::round::table::node::Node;

impl Machine {
    /// Notes whether the run ends with a checkpoint, as far as its round says so.
    pub(in crate::round) fn with_end(&self, mut node: Node) -> Node {
        let max_rounds = self.rules.spec.end.max_rounds;
        let reached = max_rounds.filter(|max| node.round >= *max);
        node.end = match (node.end, reached) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        node
    }

    /// Notes that the run ends with this checkpoint, if its round measured a value that is good enough. Its contributions are
    /// here. It is a function of the records, so every node finds the same end.
    pub(in crate::round) fn end_if_reached(&mut self, id: &CheckpointId) {
        let Some(node) = self.history.tree.get(id).filter(|node| node.end.is_none()) else {
            return;
        };
        let round = node.round;
        if !self.has_reached_target(node) {
            return;
        }
        self.dirty.head = true;
        self.dirty.round = true;
        self.dirty.chain = true;
        let mut open = vec![*id];
        while let Some(id) = open.pop() {
            if let Some(node) = self.history.tree.get_mut(&id) {
                node.end = Some(node.end.map_or(round, |end| end.min(round)));
                open.extend(&node.children);
            }
        }
    }

    fn has_reached_target(&self, node: &Node) -> bool {
        let spec = &self.rules.spec;
        let (Some(target), Some(seal)) = (&spec.end.target, self.history.seal_of(node)) else {
            return false;
        };
        let Some(at) = spec.metrics.iter().position(|metric| metric.name == target.metric) else {
            return false;
        };
        let Some(goal) = spec.metrics.get(at).map(|metric| metric.goal) else {
            return false;
        };
        let reached = seal.fresh.iter().filter_map(|id| {
            let report = &self.history.ledger.contribution(id)?.record.report;
            let measured = (*report.metrics.get(at)?)?;
            (!goal.is_better(target.value, measured.value)).then_some(())
        });
        reached.count() >= self.rules.quorum
    }

    /// Returns the content that a closing round on this checkpoint makes: what the checkpoint holds. `None` if the run goes on
    /// there.
    pub(in crate::round) fn closing_content(&self, parent: &CheckpointId) -> Option<Content> {
        let parent = self.history.tree.get(parent)?;
        parent.end.map(|_| parent.content)
    }

    /// Returns the fault of a closing round: it lists late work, or fewer votes than a quorum, which would settle nothing.
    pub(in crate::round) fn closing_fault(&self, proposal: &Proposal) -> Option<String> {
        self.closing_content(&proposal.parent)?;
        let (votes, needed) = (proposal.fresh.len(), self.rules.k.max(self.rules.quorum));
        if votes < needed {
            return Some(format!("a closing round of {votes} votes, {needed} are needed"));
        }
        (!proposal.late.is_empty()).then(|| "a closing round lists late work".to_owned())
    }

    /// Returns true if this node can tell whether the run has ended with a checkpoint or before it. Until then it computes and
    /// signs nothing there: a closing round makes something else than any other round.
    ///
    /// A checkpoint whose contributions are not here may be the last one. Older ones cannot: after the last one has settled no more
    /// rounds begin, so it lies where all nodes still hold the contributions.
    pub(in crate::round) fn knows_end_at(&self, node: &Node) -> bool {
        if self.rules.spec.end.target.is_none() {
            return true;
        }
        let held = u64::from(self.rules.spec.rounds.max_staleness) + MARGIN_ROUNDS;
        let oldest = node.settled.saturating_sub(held).max(self.history.horizon);
        let mut at = Some(node);
        while let Some(node) = at.filter(|node| node.round > oldest && node.end.is_none()) {
            if !node.complete && node.parent.is_some() {
                return false;
            }
            at = node.parent.and_then(|id| self.history.tree.get(&id));
        }
        true
    }

    /// Returns true if the head is the last checkpoint of the run, or of a closing round.
    pub(in crate::round) fn is_at_end(&self) -> bool {
        let head = self.history.tree.get(&self.history.chain.head());
        head.is_some_and(|head| head.end.is_some())
    }

    /// The last checkpoint of the run, once the run is complete: it is settled, or in an open model confirmed.
    pub fn last_checkpoint(&self) -> Option<CheckpointInfo> {
        let end = self.history.tree.get(&self.history.chain.head())?.end?;
        let sure = match self.rules.is_list {
            true => self.history.settled_round(),
            false => self.history.confirmed_round(),
        };
        let last = self.history.chain.at(end).filter(|_| sure >= end)?;
        let last = self.checkpoint(&last)?;
        // A node that adopted a closing checkpoint has the weights, too: they are the same.
        let verified = self.fetching.blobs.are_here(&last.content);
        Some(CheckpointInfo { verified, ..last })
    }

    /// Returns true if the run has ended for good.
    pub fn is_complete(&self) -> bool {
        self.last_checkpoint().is_some()
    }

    /// Votes on the head of a run that has reached its end: asks for an update of zeros, which this node then contributes.
    pub(in crate::round) fn vote_at_end(&mut self) {
        let head = self.history.chain.head();
        let asked = self.submissions.encoding.contains_key(&head) || self.submissions.is_resting(&head, self.now);
        if !asked && self.is_at_end() && !self.is_complete() && !self.is_ending() && self.signing_fault(&head).is_ok() {
            self.start_encode(&head);
        }
    }
}
