//! Named checkpoints: the checkpoints that others build on or stand on. They are held in any number.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, NodeId};
use crate::record::MEMBERS_MAX;
use crate::round::machine::Machine;
use crate::round::table::orphans::Missing;

/// Maximum number of a sealer's own checkpoints that are looked through for another node that builds on them.
const OWN_DESCENDANTS_MAX: usize = 64;

impl Machine {
    /// Returns true if a node other than `sealer` builds on the checkpoint or stands on it. The sealer's own records name
    /// nothing, because it could make any number of seals welcome with them.
    pub(in crate::round) fn is_named(&self, checkpoint: &CheckpointId, sealer: &NodeId) -> bool {
        // The sealer's own children name the checkpoint if others build on them.
        let mut open = vec![*checkpoint];
        let mut looks = 0;
        while let Some(id) = open.pop() {
            looks += 1;
            if looks > OWN_DESCENDANTS_MAX {
                return false;
            }
            if self.others_name(&id, sealer) {
                return true;
            }
            open.extend(self.history.tree.get(&id).into_iter().flat_map(|node| &node.children));
        }
        false
    }

    /// Returns true if a record or a claim of a node other than `sealer` names this very checkpoint.
    fn others_name(&self, checkpoint: &CheckpointId, sealer: &NodeId) -> bool {
        let children = self
            .history
            .tree
            .get(checkpoint)
            .into_iter()
            .flat_map(|node| &node.children);
        let seals = children
            .filter_map(|id| self.history.tree.get(id))
            .flat_map(|node| &node.seals);
        let mut seals = seals.filter_map(|id| self.history.ledger.seal(id));
        self.intake.claims.by_others(checkpoint, sealer)
            || self.history.ballots.on(checkpoint).any(|(author, _)| author != sealer)
            || self
                .history
                .orphans
                .contributions_on(checkpoint)
                .any(|c| c.record.author != *sealer)
            || self
                .history
                .orphans
                .seals_for(Missing::Parent(*checkpoint))
                .any(|s| s.record.sealer != *sealer)
            || seals.any(|s| s.record.sealer != *sealer)
    }

    /// Returns true if a held checkpoint is named. If two nodes sealed it, the records of both can name it.
    fn is_held_named(&self, checkpoint: &CheckpointId, sealers: &BTreeSet<NodeId>) -> bool {
        sealers.iter().take(2).any(|sealer| self.is_named(checkpoint, sealer))
    }

    /// Notes the claim of a peer that it stands on this checkpoint. Only one claim per member counts: a checkpoint that one
    /// member holds, others can hold too.
    pub(in crate::round) fn claim(&mut self, by: NodeId, head: CheckpointId) {
        let room = self.intake.claims.heads.len() < MEMBERS_MAX || self.intake.claims.heads.contains_key(&by);
        if room && by != self.rules.config.node && self.rules.spec.admits(&by) {
            let before = self.intake.claims.insert(by, head);
            self.intake.shares.doubted.extend(before.filter(|old| *old != head));
            self.name_gained(&head);
        }
    }

    /// Handles a new name of this checkpoint: it leaves the shares, and so do the sealer's own checkpoints that it builds on.
    pub(in crate::round) fn name_gained(&mut self, checkpoint: &CheckpointId) {
        let mut at = *checkpoint;
        while let Some(sealers) = self.intake.shares.sealers(&at).cloned() {
            if !self.is_held_named(&at, &sealers) {
                return;
            }
            self.intake.shares.unfile(&at);
            match self.history.tree.get(&at).and_then(|node| node.parent) {
                Some(parent) => at = parent,
                None => return,
            }
        }
    }

    /// Files a checkpoint among the unnamed ones if it is unnamed now. Returns true if it is.
    pub(in crate::round) fn file_if_unnamed(&mut self, checkpoint: &CheckpointId) -> bool {
        let Some(place) = self.place_of(checkpoint) else {
            return false;
        };
        let unnamed = !self.is_held_named(checkpoint, &place.sealers);
        if unnamed {
            self.intake.shares.file(place);
        }
        unnamed
    }

    /// Reviews checkpoints that may have lost their names. Without a name they count again, and so do
    /// their sealers' own checkpoints that they build on. In an open model the excess is dropped then;
    /// a list's member keeps it until its next seal.
    pub(in crate::round) fn review_names(&mut self) {
        while let Some(first) = self.intake.shares.doubted.pop_first() {
            let mut filed = vec![];
            let mut at = Some(first).filter(|id| !self.intake.shares.has(id));
            while let Some(id) = at.filter(|id| self.file_if_unnamed(id)) {
                filed.push(id);
                let parent = self.history.tree.get(&id).and_then(|node| node.parent);
                at = parent.filter(|id| !self.intake.shares.has(id));
            }
            if !self.rules.is_list {
                filed.iter().for_each(|id| self.trim_shares(id));
            }
        }
    }

    /// Takes the branch of the new head out of the shares, because it counts against no sealer.
    pub(in crate::round) fn leave_shares(&mut self, head: &CheckpointId) {
        let mut at = self.history.tree.get(head);
        while let Some(node) = at.filter(|node| !self.history.chain.contains(node.round, &node.id)) {
            self.intake.shares.unfile(&node.id);
            at = node.parent.and_then(|parent| self.history.tree.get(&parent));
        }
    }

    /// Reviews the checkpoints that the head left, because from now on only their names hold them.
    pub(in crate::round) fn doubt_names_off_chain(&mut self, from: &CheckpointId) {
        let mut at = self.history.tree.get(from);
        while let Some(node) = at.filter(|node| !self.history.chain.contains(node.round, &node.id)) {
            self.intake.shares.doubted.insert(node.id);
            at = node.parent.and_then(|parent| self.history.tree.get(&parent));
        }
    }
}
