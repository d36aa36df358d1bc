//! Late work: contributions whose round was sealed without them.

use std::collections::BTreeMap;

use crate::id::{ContributionId, NodeId};
use crate::record::MEMBERS_MAX;
use crate::round::machine::Machine;

impl Machine {
    /// Late contributions that the next seal on the head may take, by author, the oldest first. A member gets one into each seal,
    /// so the one that would expire first goes first and the fewest are lost.
    fn late_eligible(&self) -> BTreeMap<NodeId, Vec<ContributionId>> {
        let head = self.history.chain.head();
        let round = self.history.chain.round() + 1;
        let staleness = u64::from(self.rules.spec.rounds.max_staleness);
        let first = round.saturating_sub(staleness).max(1);
        let mut by_author: BTreeMap<NodeId, Vec<ContributionId>> = BTreeMap::new();
        for (id, signed) in self.history.ledger.contributions_of(first, round - 1) {
            let c = &signed.record;
            let usable = c.parent != head
                && !self.history.is_excluded(&c.author)
                && !self.fetching.blobs.updates.is_bad(&c.update);
            if usable && self.history.listed_in_chain(&id).is_none() {
                by_author.entry(c.author).or_default().push(id);
            }
        }
        by_author
    }

    /// The late contributions that the next seal on the head may take: one per author, so that no
    /// author makes others fetch a heap of old work.
    pub(in crate::round) fn late_to_fetch(&self) -> impl Iterator<Item = ContributionId> + use<> {
        let any = self.rules.spec.rounds.max_staleness > 0 && !self.is_at_end();
        let by_author = if any { self.late_eligible() } else { BTreeMap::new() };
        by_author.into_values().filter_map(|ids| ids.first().copied())
    }

    /// The late contributions that this node's seal on the head takes, ascending: the oldest of each author whose blob is here.
    pub(in crate::round) fn late_to_seal(&self) -> Vec<ContributionId> {
        if self.rules.spec.rounds.max_staleness == 0 || self.is_at_end() {
            return vec![];
        }
        let here = |id: &ContributionId| self.fetching.blobs.updates.is_here(&self.history.update_of(id));
        let firsts = self
            .late_eligible()
            .into_values()
            .filter_map(|ids| ids.into_iter().find(here));
        let mut late: Vec<_> = firsts.take(MEMBERS_MAX).collect();
        late.sort_unstable();
        late
    }
}
