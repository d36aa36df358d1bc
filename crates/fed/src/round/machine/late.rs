//! Late work: contributions whose round was sealed without them.

use std::collections::BTreeMap;

use crate::id::{ContributionId, NodeId};
use crate::round::machine::Machine;

/// Late contributions that the next seal on the head may take, by author, the oldest first. A member gets one into each seal,
/// so the one that would expire first goes first and the fewest are lost.
fn eligible(machine: &Machine) -> BTreeMap<NodeId, Vec<ContributionId>> {
    let head = machine.chain.head();
    let round = machine.chain.round() + 1;
    let staleness = u64::from(machine.spec.rounds.max_staleness);
    let first = round.saturating_sub(staleness).max(1);
    let mut by_author: BTreeMap<NodeId, Vec<ContributionId>> = BTreeMap::new();
    for (id, signed) in machine.ledger.contributions_of(first, round - 1) {
        let c = &signed.record;
        let usable = c.parent != head && !machine.is_excluded(&c.author) && !machine.blobs.updates.is_bad(&c.update);
        if usable && machine.listed_in_chain(&id).is_none() {
            by_author.entry(c.author).or_default().push(id);
        }
    }
    by_author
}

/// The late contributions that the next seal on the head may take: one per author, so that no
/// author makes others fetch a heap of old work.
pub(in crate::round) fn next(machine: &Machine) -> impl Iterator<Item = ContributionId> {
    let any = machine.spec.rounds.max_staleness > 0;
    let by_author = if any { eligible(machine) } else { BTreeMap::new() };
    by_author.into_values().filter_map(|ids| ids.first().copied())
}

/// The late contributions that this node's seal on the head takes, ascending: the oldest of each author whose blob is here.
pub(in crate::round) fn chosen(machine: &Machine) -> Vec<ContributionId> {
    if machine.spec.rounds.max_staleness == 0 {
        return vec![];
    }
    let here = |id: &ContributionId| machine.blobs.updates.is_here(&machine.update_of(id));
    let firsts = eligible(machine)
        .into_values()
        .filter_map(|ids| ids.into_iter().find(here));
    let mut late: Vec<_> = firsts.take(crate::record::MEMBERS_MAX).collect();
    late.sort_unstable();
    late
}

impl Machine {
    /// The checkpoint of the head's branch that lists a contribution, if there is one.
    pub(in crate::round) fn listed_in_chain(&self, id: &ContributionId) -> Option<crate::id::CheckpointId> {
        let by = self.named.get(id)?;
        let on_chain = |c: &&crate::id::CheckpointId| self.tree.get(c).is_some_and(|n| self.chain.contains(n.round, c));
        by.iter().find(on_chain).copied()
    }
}
