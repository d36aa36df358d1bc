//! The consents of the members to a change of members: the newest of each.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CheckpointId, ConsentId, NodeId};
use crate::record::{Change, Consent, Handover, Signed};
use crate::round::Succession;

/// The newest [`Consent`] of each member. There are at most as many as members.
#[derive(Debug, Default)]
pub(in crate::round) struct Consents {
    by_author: BTreeMap<NodeId, (ConsentId, Signed<Consent>)>,
    /// The end of the model, as the driver was told.
    pub told: Option<Succession>,
}

impl Consents {
    /// Keeps a consent if it is newer than the one of its author that is held. Of two with one number, the one with the greater
    /// id counts, so that all nodes keep the same. Returns `None` if it is not kept, else the id of the one that it replaces.
    pub fn keep(&mut self, id: ConsentId, signed: Signed<Consent>) -> Option<Option<ConsentId>> {
        let key = |id: ConsentId, consent: &Consent| (consent.number, id);
        let author = signed.record.author;
        let held = self.by_author.get(&author);
        if held.is_some_and(|(old, held)| key(*old, &held.record) >= key(id, &signed.record)) {
            return None;
        }
        Some(self.by_author.insert(author, (id, signed)).map(|(old, _)| old))
    }

    /// Returns the newest consent of a member.
    pub fn of(&self, author: &NodeId) -> Option<&Consent> {
        self.by_author.get(author).map(|(_, signed)| &signed.record)
    }

    /// Returns the held consent of an id.
    pub fn get(&self, id: &ConsentId) -> Option<&Signed<Consent>> {
        let mut all = self.by_author.values();
        all.find(|(held, _)| held == id).map(|(_, signed)| signed)
    }

    /// Returns all consents that are held.
    pub fn all(&self) -> impl Iterator<Item = &Signed<Consent>> {
        self.by_author.values().map(|(_, signed)| signed)
    }

    /// Returns true if no member ever agreed to a change, as in most models.
    pub fn is_empty(&self) -> bool {
        self.by_author.is_empty()
    }

    /// Returns the members that agree to each change, the most agreed one first. A change that its proposer agrees to no longer
    /// is withdrawn, unless a member is bound to end the model by it: that member relies on the others.
    pub fn changes(&self, counts: impl Fn(&NodeId) -> bool) -> Vec<(&Change, BTreeSet<NodeId>)> {
        let mut changes: BTreeMap<&Change, BTreeSet<NodeId>> = BTreeMap::new();
        for (author, (_, signed)) in &self.by_author {
            if let Some(change) = signed.record.change.as_ref().filter(|_| counts(author)) {
                changes.entry(change).or_default().insert(*author);
            }
        }
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.retain(|(change, agreed)| agreed.contains(&change.proposer) || !self.bound(change, &counts).is_empty());
        changes.sort_by_key(|(_, agreed)| std::cmp::Reverse(agreed.len()));
        changes
    }

    /// Returns how many members are bound to each checkpoint by a change.
    pub fn bound(&self, change: &Change, counts: impl Fn(&NodeId) -> bool) -> BTreeMap<CheckpointId, usize> {
        let mut bound = BTreeMap::new();
        for (_, handover) in self
            .handovers(change)
            .filter(|(author, handover)| handover.bound && counts(author))
        {
            *bound.entry(handover.checkpoint).or_default() += 1;
        }
        bound
    }

    /// Returns the change by which, and the checkpoint to which, so many members are bound.
    pub fn decided(&self, quorum: usize, counts: impl Fn(&NodeId) -> bool) -> Option<(Change, CheckpointId)> {
        let changes: BTreeSet<_> = self.all().filter_map(|signed| signed.record.change.as_ref()).collect();
        changes.into_iter().find_map(|change| {
            let mut bound = self.bound(change, &counts).into_iter();
            let (checkpoint, _) = bound.find(|(_, count)| *count >= quorum)?;
            Some((change.clone(), checkpoint))
        })
    }

    /// Returns the handovers that members name for a change, with their authors.
    pub fn handovers<'a>(&'a self, change: &'a Change) -> impl Iterator<Item = (&'a NodeId, Handover)> {
        self.by_author.iter().filter_map(move |(author, (_, signed))| {
            let named = signed.record.change.as_ref() == Some(change);
            signed
                .record
                .handover
                .filter(|_| named)
                .map(|handover| (author, handover))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SpecId;
    use crate::record::Signature;

    /// A consent to a change that this proposer makes.
    fn to(author: u8, number: u64, proposer: u8) -> Signed<Consent> {
        Signed {
            record: Consent {
                spec: SpecId([9; 32]),
                author: NodeId([author; 32]),
                number,
                change: Some(Change {
                    proposer: NodeId([proposer; 32]),
                    add: [NodeId([77; 32])].into(),
                    remove: BTreeSet::new(),
                }),
                handover: None,
            },
            signature: Signature([0; 64]),
        }
    }

    #[test]
    fn the_newest_of_each_author_counts_in_any_order() {
        let all = [to(1, 1, 7), to(1, 2, 8), to(2, 5, 7), to(2, 5, 8)];
        let mut orders = vec![all.to_vec(), all.iter().rev().cloned().collect()];
        orders.push([2, 0, 3, 1].iter().map(|i| all[*i].clone()).collect());
        let mut ends = vec![];
        for order in orders {
            let mut consents = Consents::default();
            for signed in order {
                consents.keep(signed.record.id(), signed);
            }
            ends.push(consents.all().cloned().collect::<Vec<_>>());
        }
        assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
        assert_eq!(ends[0].len(), 2);
        assert_eq!(ends[0][0].record.number, 2);
    }

    #[test]
    fn the_most_agreed_change_comes_first_and_what_its_proposer_gave_up_is_none() {
        let mut consents = Consents::default();
        for signed in [to(1, 1, 1), to(2, 1, 2), to(3, 1, 2), to(4, 1, 4)] {
            consents.keep(signed.record.id(), signed);
        }
        let counts = |consents: &Consents, excluded: u8| -> Vec<usize> {
            let changes = consents.changes(|author| *author != NodeId([excluded; 32]));
            changes.iter().map(|(_, agreed)| agreed.len()).collect()
        };
        assert_eq!(counts(&consents, 9), [2, 1, 1]);
        assert_eq!(counts(&consents, 3), [1, 1, 1], "the excluded do not count");
        assert_eq!(counts(&consents, 2), [1, 1], "nor does what they propose");
        let again = to(4, 2, 1);
        consents.keep(again.record.id(), again);
        assert_eq!(counts(&consents, 9), [2, 2]);
    }
}
