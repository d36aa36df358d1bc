//! The members that the open round waits for, and the order in which members seal it.

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::round::machine::Machine;

/// The hash by which members are ranked for sealing on a parent, so that no member chooses its place.
fn draw(parent: &CheckpointId, node: &NodeId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"qres/sealer/1\n");
    hasher.update(&parent.0);
    hasher.update(&node.0);
    *hasher.finalize().as_bytes()
}

impl Machine {
    /// Members that the open round waits for: they attend, their pace lets them be in, and they are not convicted.
    pub(in crate::round) fn expected(&self) -> impl Iterator<Item = &NodeId> {
        self.expected_in(self.history.chain.round() + 1)
    }

    fn expected_in(&self, round: u64) -> impl Iterator<Item = &NodeId> {
        let members = self.rules.members().into_iter().flatten();
        let patience = self.patience_ms();
        members.filter(move |m| {
            self.pacing.attendance.expects(m, round)
                && self.pacing.paces.fits(m, patience)
                && !self.history.is_excluded(m)
        })
    }

    /// Remembers the members that the open round waits for. The round waits once there is a contribution.
    pub(in crate::round) fn note_expected(&mut self) {
        if self.rules.is_list && self.open.first.is_some() {
            let expected: Vec<_> = self.expected().copied().collect();
            self.open.expected.extend(expected);
        }
    }

    /// Expected members whose contribution on the head is not here with its blob. A member whose
    /// blob is bad has had its turn and is not missing.
    pub(in crate::round) fn missing(&self) -> Vec<NodeId> {
        let head = self.history.chain.head();
        let round = self.history.chain.round() + 1;
        let is_in = |member: &NodeId| {
            let mut casts = self
                .history
                .ballots
                .by(&head, member)
                .iter()
                .filter(|cast| cast.round == round);
            casts.any(|cast| {
                let update = self.history.update_of(&cast.id);
                self.fetching.blobs.updates.is_here(&update) || self.fetching.blobs.updates.is_bad(&update)
            })
        };
        self.expected().filter(|m| !is_in(m)).copied().collect()
    }

    /// Place of this node among the sealers of the head, 0 = first; `None` if this node does not seal.
    /// Nodes that contributed and whose update is here go before the others. So a list's silent members, or
    /// strangers who withhold, do not cost a stagger each.
    pub(in crate::round) fn place(&self) -> Option<u64> {
        let head = self.history.chain.head();
        let whole = |id: &ContributionId| self.fetching.blobs.updates.is_here(&self.history.update_of(id));
        let contributed = |node: &NodeId| self.history.ballots.by(&head, node).iter().any(|cast| whole(&cast.id));
        let mine = self.rules.config.node;
        if !self.rules.is_member || self.history.is_excluded(&mine) || !(self.rules.is_list || contributed(&mine)) {
            return None;
        }
        let key = |node: &NodeId| (!contributed(node), draw(&head, node));
        let my_key = key(&mine);
        let before = |node: &NodeId| *node != mine && !self.history.is_excluded(node) && key(node) < my_key;
        let count = match self.rules.members() {
            Some(members) => members.iter().filter(|m| before(m)).count(),
            None => {
                let authors = self.history.ballots.on(&head).map(|(author, _)| author);
                authors.filter(|m| contributed(m) && before(m)).count()
            }
        };
        Some(count as u64)
    }

    /// The contributions on a checkpoint whose updates are here.
    fn whole_on(&self, checkpoint: &CheckpointId) -> Vec<ContributionId> {
        let casts = self.history.ballots.on(checkpoint).flat_map(|(_, casts)| casts);
        let whole = casts.filter(|cast| self.fetching.blobs.updates.is_here(&self.history.update_of(&cast.id)));
        whole.map(|cast| cast.id).collect()
    }

    /// Notes, after the head moved, which members contributed to the round that closed and which ones it waited for in vain.
    pub(in crate::round) fn take_attendance(&mut self) {
        if !self.rules.is_list {
            return;
        }
        let mut expected = std::mem::take(&mut self.open.expected);
        let head = self.history.chain.head();
        let round = self.history.chain.round();
        let listed = self
            .history
            .tree
            .get(&head)
            .and_then(|n| self.history.seal_of(n))
            .map(|s| s.fresh.clone());
        let mut authors = vec![];
        for id in listed.unwrap_or_default() {
            match self.history.ledger.contribution(&id) {
                Some(signed) => authors.push(signed.record.author),
                // The head was adopted by its digest: its contributors are not known, so no member is held absent.
                None => return,
            }
        }
        for author in authors {
            self.pacing.attendance.heard(author, round);
        }
        if expected.is_empty() {
            // The round was over before it was open here: after a restart, or while this node catches up.
            expected = self.expected_in(round).copied().collect();
        }
        self.pacing.attendance.close(round, &expected);
        // Some contributions came in while their authors were ahead of this node.
        for id in self.whole_on(&head) {
            self.attend(&id);
        }
    }
}
