//! Late work: contributions whose round was sealed without them.

use std::collections::BTreeMap;

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::record::MEMBERS_MAX;
use crate::round::machine::Machine;

impl Machine {
    /// Late contributions that the next seal on the head may take, by author, the oldest first. A member gets one into each seal,
    /// so the one that would expire first goes first and the fewest are lost.
    fn late_eligible(&self) -> BTreeMap<NodeId, Vec<ContributionId>> {
        let head = self.chain.head();
        let round = self.chain.round() + 1;
        let staleness = u64::from(self.spec.rounds.max_staleness);
        let first = round.saturating_sub(staleness).max(1);
        let mut by_author: BTreeMap<NodeId, Vec<ContributionId>> = BTreeMap::new();
        for (id, signed) in self.ledger.contributions_of(first, round - 1) {
            let c = &signed.record;
            let usable = c.parent != head && !self.is_excluded(&c.author) && !self.blobs.updates.is_bad(&c.update);
            if usable && self.listed_in_chain(&id).is_none() {
                by_author.entry(c.author).or_default().push(id);
            }
        }
        by_author
    }

    /// The late contributions that the next seal on the head may take: one per author, so that no
    /// author makes others fetch a heap of old work.
    pub(in crate::round) fn late_to_fetch(&self) -> impl Iterator<Item = ContributionId> + use<> {
        let any = self.spec.rounds.max_staleness > 0;
        let by_author = if any { self.late_eligible() } else { BTreeMap::new() };
        by_author.into_values().filter_map(|ids| ids.first().copied())
    }

    /// The late contributions that this node's seal on the head takes, ascending: the oldest of each author whose blob is here.
    pub(in crate::round) fn late_to_seal(&self) -> Vec<ContributionId> {
        if self.spec.rounds.max_staleness == 0 {
            return vec![];
        }
        let here = |id: &ContributionId| self.blobs.updates.is_here(&self.update_of(id));
        let firsts = self
            .late_eligible()
            .into_values()
            .filter_map(|ids| ids.into_iter().find(here));
        let mut late: Vec<_> = firsts.take(MEMBERS_MAX).collect();
        late.sort_unstable();
        late
    }

    /// The checkpoint of the head's branch that lists a contribution, if there is one.
    pub(in crate::round) fn listed_in_chain(&self, id: &ContributionId) -> Option<CheckpointId> {
        let by = self.named.get(id)?;
        let on_chain = |c: &&CheckpointId| self.tree.get(c).is_some_and(|n| self.chain.contains(n.round, c));
        by.iter().find(on_chain).copied()
    }
}
