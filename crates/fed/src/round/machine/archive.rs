//! The archive: the rounds of the head's branch below the oldest checkpoint in memory. Their seals lie in the store, by round.
//!
//! The oldest checkpoint in memory is the tree's root. The root lies below the horizon by one round more than a
//! late contribution may be behind, because the seals in between show if a seal lists a contribution a second
//! time. Rounds below the root come back into memory when a quorum (or a trusted node) stands on a branch that
//! parts from this node's branch below the root.

use std::collections::BTreeSet;

use crate::id::CheckpointId;
use crate::record::Seal;
use crate::round::machine::Machine;
use crate::round::table::node::Node;
use crate::round::{Archived, Forgotten, Output, Persist, Root};

/// Maximum number of rounds below the root that are taken back. A newcomer holds as many seals of a chain for which no quorum
/// vouches, about 32 MiB. A node whose branch parts further down needs a fresh data directory.
const BACK_MAX: u64 = 32_768;
/// Rest of the archive in milliseconds, for each round that was taken back and archived again. A member (in
/// an open model any node) can ask for the rounds with one seal whenever another seal is late, and each
/// round costs a read and two writes, about 50 µs.
const REST_MS_A_ROUND: u64 = 4;

impl Machine {
    /// The round of the oldest checkpoint in memory.
    pub fn root_round(&self) -> u64 {
        self.history.chain.first()
    }

    /// Moves the rounds that lie far enough below the horizon into the archive, with [`Persist::Archive`]. Moves none while a
    /// branch that parts down there is looked for.
    pub(in crate::round) fn archive(&mut self) {
        let low = self.history.horizon.saturating_sub(self.rules.rounds_below_horizon());
        if self.search.attested.is_some() || !self.search.doubted.is_empty() {
            return;
        }
        let mut rounds = vec![];
        while self.history.chain.first() < low {
            let Some(node) = self.advance_root() else { break };
            rounds.extend(self.archive_node(node));
        }
        let Some(root) = self.history.root().filter(|_| !rounds.is_empty()) else {
            return;
        };
        self.out.persist(Persist::Archive { root, rounds });
        let back = std::mem::take(&mut self.search.taken_back.held);
        if back > 0 {
            self.search.taken_back.rests_until = self.now.after_ms(back.saturating_mul(REST_MS_A_ROUND));
        }
    }

    /// Takes the root out of the tree. Its child on the head's branch becomes the root, and all other children are dropped.
    fn advance_root(&mut self) -> Option<Node> {
        let next = self.history.chain.at(self.history.chain.first() + 1)?;
        let others = self.history.tree.get(&self.history.tree.root())?.children.clone();
        for other in others.iter().filter(|id| **id != next) {
            self.drop_branch(other);
        }
        let node = self.history.tree.advance_root(&next)?;
        self.history.chain.forget_first();
        Some(node)
    }

    /// Takes the records of a former root out of memory, as an [`Archived`] round.
    /// Returns `None` for checkpoint 0, which has no seal.
    fn archive_node(&mut self, node: Node) -> Option<Archived> {
        let mut seals = node.seals.iter();
        let first = seals.next().and_then(|id| self.history.ledger.remove_seal(id))?;
        seals.for_each(|id| drop(self.history.ledger.remove_seal(id)));
        let proofs = first
            .record
            .proofs
            .iter()
            .filter_map(|id| self.history.ledger.proof(id))
            .cloned()
            .collect();
        let unnamed = self.unname_list(&first.record.proofs);
        let own = self.rules.config.node;
        let served: Vec<_> = unnamed
            .into_iter()
            .filter(|id| self.history.ledger.proof(id).is_some_and(|proof| proof.author() != own))
            .collect();
        for id in &served {
            self.drop_proof(id);
        }
        self.out.persist(Persist::Forget(Forgotten {
            seals: node.seals,
            proofs: served,
            verified: vec![node.id],
            ..Forgotten::default()
        }));
        Some(Archived { seal: first, proofs })
    }

    /// Asks for archived rounds with [`Output::WantArchived`] if the parent of `seal` may be among
    /// them and a branch from down there is looked for.
    pub(in crate::round) fn look_in_archive(&mut self, seal: &Seal) {
        let root = self.history.chain.first();
        if self.search.attested.is_none() || seal.round > root {
            return;
        }
        let from = seal.round.saturating_sub(1 + self.rules.rounds_below_horizon());
        if root - from <= BACK_MAX && self.search.taken_back.may_read(from, self.now) {
            self.search.taken_back.wanted = Some(from);
            self.out.act(Output::WantArchived { from });
        }
    }

    /// Takes back the [`Archived`] rounds that the store returned, from some round up to the root.
    pub(in crate::round) fn take_archived(&mut self, rounds: Vec<Archived>) {
        self.search.taken_back.wanted = None;
        if self.search.attested.is_none() {
            return;
        }
        let mut added = vec![];
        // The root may have moved down since these rounds were asked for.
        let root = self.history.chain.first();
        let below = |round: &Archived| round.seal.record.round < root;
        for round in rounds.into_iter().filter(below).rev() {
            let Some(id) = self.unarchive(round) else { break };
            added.push(id);
        }
        added.extend(self.unarchive_zero());
        let Some(root) = self.history.root().filter(|_| !added.is_empty()) else {
            return;
        };
        self.out.persist(Persist::Unarchive { root });
        self.search.taken_back.held += added.len() as u64;
        for id in added.into_iter().rev() {
            self.adopt_children(&id);
        }
        self.dirty.head = true;
    }

    /// Puts back the parent of the root, which becomes the root. Returns `None` if `round` did not make the parent of the root.
    fn unarchive(&mut self, round: Archived) -> Option<CheckpointId> {
        let Archived { seal: signed, proofs } = round;
        let seal = &signed.record;
        let below = self.history.tree.get(&self.history.tree.root())?;
        let id = seal.checkpoint().id();
        if below.parent != Some(id) {
            return None;
        }
        let mut convicted: BTreeSet<_> = below.convicted.iter().collect();
        let named = self.history.seal_of(below).map_or(&[][..], |seal| &seal.proofs);
        for proof in named.iter().filter_map(|id| self.history.ledger.proof(id)) {
            convicted.remove(&proof.author());
        }
        let root = Root {
            id,
            round: seal.round,
            parent: Some(seal.parent),
            content: seal.result,
            convicted,
        };
        let (mut node, seal_id) = (self.with_end(Node::of_root(root)), seal.id());
        node.seals.push(seal_id);
        self.name_proofs(&signed.record.proofs);
        for proof in &proofs {
            self.out.persist(Persist::Proof(proof.clone()));
            self.restore_proof(proof.clone());
        }
        self.out.persist(Persist::Seal(signed.clone()));
        self.history.ledger.add_seal(seal_id, signed);
        self.history.tree.retreat_root(node);
        self.history.chain.put_first(id);
        Some(id)
    }

    /// Puts back checkpoint 0 if the root is of round 1. Checkpoint 0 has no seal, so the archive cannot hold it.
    fn unarchive_zero(&mut self) -> Option<CheckpointId> {
        let root = self.history.tree.get(&self.history.tree.root())?;
        if root.round != 1 {
            return None;
        }
        let zero = Root::zero(&self.rules.spec);
        let id = zero.id;
        self.history.tree.retreat_root(Node::of_root(zero));
        self.history.chain.put_first(id);
        Some(id)
    }
}
