//! Which checkpoints others build on or stand on: those are held whatever their number.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::Machine;
use super::orphans::Missing;
use crate::id::{CheckpointId, NodeId};
use crate::record::MEMBERS_MAX;

/// Checkpoints of a sealer's own that are looked through for someone who builds on them.
const OWN_DESCENDANTS_MAX: usize = 64;

/// The checkpoints that other members say they stand on.
#[derive(Debug, Default)]
pub(super) struct Claims {
    heads: BTreeMap<NodeId, CheckpointId>,
    by_head: BTreeMap<CheckpointId, BTreeSet<NodeId>>,
}

impl Claims {
    /// Notes where a member stands. Returns where it stood before.
    fn insert(&mut self, by: NodeId, head: CheckpointId) -> Option<CheckpointId> {
        let before = self.heads.insert(by, head);
        if let Some(old) = before
            && let Some(those) = self.by_head.get_mut(&old)
        {
            those.remove(&by);
            if those.is_empty() {
                self.by_head.remove(&old);
            }
        }
        self.by_head.entry(head).or_default().insert(by);
        before
    }

    /// Whether anyone but `sealer` stands on the checkpoint.
    fn by_others(&self, checkpoint: &CheckpointId, sealer: &NodeId) -> bool {
        let mut those = self.by_head.get(checkpoint).into_iter().flatten();
        those.any(|by| by != sealer)
    }
}

impl Machine {
    /// Whether someone but its sealer builds on the checkpoint or stands on it. A sealer's own records name nothing: it could
    /// make any number of seals welcome.
    pub(super) fn is_named(&self, checkpoint: &CheckpointId, sealer: &NodeId) -> bool {
        // The sealer's own children name it where others build on them.
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
            open.extend(self.tree.get(&id).into_iter().flat_map(|node| &node.children));
        }
        false
    }

    /// Whether a record or a claim of someone but `sealer` names this very checkpoint.
    fn others_name(&self, checkpoint: &CheckpointId, sealer: &NodeId) -> bool {
        let children = self.tree.get(checkpoint).into_iter().flat_map(|node| &node.children);
        let seals = children.filter_map(|id| self.tree.get(id)).flat_map(|node| &node.seals);
        let mut seals = seals.filter_map(|id| self.ledger.seal(id));
        self.claims.by_others(checkpoint, sealer)
            || self.ballots.on(checkpoint).any(|(author, _)| author != sealer)
            || self
                .orphans
                .contributions_on(checkpoint)
                .any(|c| c.record.author != *sealer)
            || self
                .orphans
                .seals_for(Missing::Parent(*checkpoint))
                .any(|s| s.record.sealer != *sealer)
            || seals.any(|s| s.record.sealer != *sealer)
    }

    /// Whether a held checkpoint is named. One that two nodes sealed has no sealer whose own records name nothing.
    fn is_held_named(&self, checkpoint: &CheckpointId, sealers: &BTreeSet<NodeId>) -> bool {
        sealers.iter().take(2).any(|sealer| self.is_named(checkpoint, sealer))
    }

    /// A peer says that it stands on this checkpoint. One claim a member counts: what it holds, others can hold too.
    pub(super) fn claim(&mut self, by: NodeId, head: CheckpointId) {
        let room = self.claims.heads.len() < MEMBERS_MAX || self.claims.heads.contains_key(&by);
        if room && by != self.config.node && self.spec.admits(&by) {
            let before = self.claims.insert(by, head);
            self.shares.doubted.extend(before.filter(|old| *old != head));
            self.name_gained(&head);
        }
    }

    /// Something names this checkpoint: it, and the sealer's own ones that it builds on, leave the shares.
    pub(super) fn name_gained(&mut self, checkpoint: &CheckpointId) {
        let mut at = *checkpoint;
        while let Some(sealers) = self.shares.sealers(&at).cloned() {
            if !self.is_held_named(&at, &sealers) {
                return;
            }
            self.shares.unfile(&at);
            match self.tree.get(&at).and_then(|node| node.parent) {
                Some(parent) => at = parent,
                None => return,
            }
        }
    }

    /// Files a checkpoint among the unnamed ones if it is one now. Says whether it does.
    pub(super) fn file_if_unnamed(&mut self, checkpoint: &CheckpointId) -> bool {
        let Some(place) = self.place_of(checkpoint) else {
            return false;
        };
        let unnamed = !self.is_held_named(checkpoint, &place.sealers);
        if unnamed {
            self.shares.file(place);
        }
        unnamed
    }

    /// What named these is gone: they count again, and so do their sealers' own ones that they build on. In an open model what is
    /// too much then goes; a list's member keeps it until its next seal.
    pub(super) fn review_names(&mut self) {
        while let Some(first) = self.shares.doubted.pop_first() {
            let mut filed = vec![];
            let mut at = Some(first).filter(|id| !self.shares.has(id));
            while let Some(id) = at.filter(|id| self.file_if_unnamed(id)) {
                filed.push(id);
                let parent = self.tree.get(&id).and_then(|node| node.parent);
                at = parent.filter(|id| !self.shares.has(id));
            }
            if !self.is_list {
                filed.iter().for_each(|id| self.trim_shares(id));
            }
        }
    }

    /// The head moves here: what is on its branch counts against nobody.
    pub(super) fn leave_shares(&mut self, head: &CheckpointId) {
        let mut at = self.tree.get(head);
        while let Some(node) = at.filter(|node| !self.chain.contains(node.round, &node.id)) {
            self.shares.unfile(&node.id);
            at = node.parent.and_then(|parent| self.tree.get(&parent));
        }
    }

    /// The head moved from here: what it left is held for its names alone.
    pub(super) fn doubt_names_off_chain(&mut self, from: &CheckpointId) {
        let mut at = self.tree.get(from);
        while let Some(node) = at.filter(|node| !self.chain.contains(node.round, &node.id)) {
            self.shares.doubted.insert(node.id);
            at = node.parent.and_then(|parent| self.tree.get(&parent));
        }
    }
}
