//! The head's branch below what is in memory: its seals lie in the store, by round.
//!
//! The oldest checkpoint in memory is the tree's root. It stands below the horizon by as many rounds as a late contribution may
//! be behind, as a seal may not list one twice. What is below the root comes back when a quorum (or a trusted node) stands on a
//! branch that parts from ours down there.

use std::collections::BTreeSet;

use super::machine::{CheckpointInfo, ContributionInfo, Machine, RoundInfo};
use super::tree::Node;
use super::{Forgotten, Output, Persist};
use crate::id::{BlobId, CheckpointId, Instant, NodeId};
use crate::record::{Proof, Seal, Signed, Spec};

/// Rounds that are taken back below the root at most: as many seals as a newcomer holds of a chain that nobody vouches for, about
/// 32 MiB. A branch that parts further down needs a fresh data directory.
const BACK_MAX: u64 = 32_768;
/// For each round that was taken back and archived again the archive rests so long. A member, in an open model anyone, can ask for the
/// rounds with one seal whenever another seal is late, and each costs a read and two writes, some 50 µs.
const REST_MS_A_ROUND: u64 = 4;

/// What was read from the archive.
#[derive(Debug, Default)]
pub(super) struct TakenBack {
    /// The round from which on it was asked for.
    wanted: Option<u64>,
    /// So many of its rounds are in memory.
    held: u64,
    rests_until: Instant,
}

impl TakenBack {
    /// Whether the archive may be read from this round on now: it rests, but not while some of it is in memory anyway.
    fn may_read(&self, from: u64, now: Instant) -> bool {
        let rests = self.held == 0 && now < self.rests_until;
        !rests && self.wanted.is_none_or(|wanted| from < wanted)
    }
}

/// The oldest checkpoint in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its id.
    pub id: CheckpointId,
    /// Its round.
    pub round: u64,
    /// `None` for checkpoint 0.
    pub parent: Option<CheckpointId>,
    /// Its weights.
    pub weights: BlobId,
    /// Who is convicted on its branch, by its own seal included.
    pub convicted: BTreeSet<NodeId>,
}

/// A round below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The seal that made its checkpoint.
    pub seal: Signed<Seal>,
    /// The proofs that the seal names.
    pub proofs: Vec<Proof>,
}

impl Archived {
    /// As a round is shown: its contributions are forgotten.
    pub fn info(&self) -> RoundInfo {
        let seal = &self.seal.record;
        let fresh = seal.fresh.iter().map(|id| ContributionInfo::forgotten(*id, false));
        let late = seal.late.iter().map(|id| ContributionInfo::forgotten(*id, true));
        RoundInfo {
            round: seal.round,
            parent: seal.parent,
            checkpoint: Some(CheckpointInfo {
                id: seal.checkpoint().id(),
                round: seal.round,
                parent: Some(seal.parent),
                weights: seal.result,
                confirmed: true,
                verified: false,
            }),
            sealers: vec![seal.sealer],
            contributions: fresh.chain(late).collect(),
            missing: vec![],
            excluded: vec![],
            deadline: None,
            losing_seals: vec![],
        }
    }
}

impl Root {
    /// Checkpoint 0.
    pub(super) fn zero(spec: &Spec) -> Self {
        let (id, checkpoint) = spec.zero();
        Self {
            id,
            round: 0,
            parent: None,
            weights: checkpoint.result,
            convicted: BTreeSet::new(),
        }
    }

    /// As the tree holds it. What is below the horizon is settled, and so confirmed.
    pub(super) fn node(self) -> Node {
        let mut node = Node::new(
            self.id,
            self.round,
            None,
            self.weights,
            self.convicted.into_iter().collect(),
        );
        node.parent = self.parent;
        node.confirmed = self.round;
        node.settled = self.round;
        node
    }
}

impl Machine {
    /// Rounds below the horizon whose seals stay in memory: a seal above it can be checked for contributions listed twice.
    fn rounds_below_horizon(&self) -> u64 {
        u64::from(self.spec.rounds.max_staleness) + 1
    }

    /// The round of the oldest checkpoint in memory.
    pub fn root_round(&self) -> u64 {
        self.chain.first()
    }

    fn root(&self) -> Option<Root> {
        let node = self.tree.get(&self.tree.root())?;
        Some(Root {
            id: node.id,
            round: node.round,
            parent: node.parent,
            weights: node.result,
            convicted: node.convicted.iter().collect(),
        })
    }

    /// Moves what is far enough below the horizon into the archive. While another branch is looked for down there all stays.
    pub(super) fn archive(&mut self) {
        let low = self.horizon.saturating_sub(self.rounds_below_horizon());
        if self.attested.is_some() || !self.doubted.is_empty() {
            return;
        }
        let mut rounds = vec![];
        while self.chain.first() < low {
            let Some(node) = self.advance_root() else { break };
            rounds.extend(self.archive_node(node));
        }
        let Some(root) = self.root().filter(|_| !rounds.is_empty()) else {
            return;
        };
        self.out.persist(Persist::Archive { root, rounds });
        let back = std::mem::take(&mut self.taken_back.held);
        if back > 0 {
            self.taken_back.rests_until = self.now.after_ms(back.saturating_mul(REST_MS_A_ROUND));
        }
    }

    /// Takes the root out of the tree. Its child on the head's branch is the root from here on; all others go.
    fn advance_root(&mut self) -> Option<Node> {
        let next = self.chain.at(self.chain.first() + 1)?;
        let others = self.tree.get(&self.tree.root())?.children.clone();
        for other in others.iter().filter(|id| **id != next) {
            self.drop_branch(other);
        }
        let node = self.tree.advance_root(&next)?;
        self.chain.forget_first();
        Some(node)
    }

    /// Takes the records behind a former root out of memory. `None` for checkpoint 0.
    fn archive_node(&mut self, node: Node) -> Option<Archived> {
        let mut seals = node.seals.iter();
        let first = seals.next().and_then(|id| self.ledger.remove_seal(id))?;
        seals.for_each(|id| drop(self.ledger.remove_seal(id)));
        let proofs = first
            .record
            .proofs
            .iter()
            .filter_map(|id| self.ledger.proof(id))
            .cloned()
            .collect();
        let unnamed = self.unname_list(&first.record.proofs);
        let own = self.config.node;
        let served: Vec<_> = unnamed
            .into_iter()
            .filter(|id| self.ledger.proof(id).is_some_and(|proof| proof.author() != own))
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

    /// A seal's parent is in the archive: asks for it, where such seals are looked for.
    pub(super) fn look_in_archive(&mut self, seal: &Seal) {
        let root = self.chain.first();
        if self.attested.is_none() || seal.round > root {
            return;
        }
        let from = seal.round.saturating_sub(1 + self.rounds_below_horizon());
        if root - from <= BACK_MAX && self.taken_back.may_read(from, self.now) {
            self.taken_back.wanted = Some(from);
            self.out.act(Output::WantArchived { from });
        }
    }

    /// Takes back what the archive holds from some round up to the root.
    pub(super) fn take_archived(&mut self, rounds: Vec<Archived>) {
        self.taken_back.wanted = None;
        if self.attested.is_none() {
            return;
        }
        let mut added = vec![];
        // The root may have gone down since they were asked for.
        let root = self.chain.first();
        let below = |round: &Archived| round.seal.record.round < root;
        for round in rounds.into_iter().filter(below).rev() {
            let Some(id) = self.unarchive(round) else { break };
            added.push(id);
        }
        added.extend(self.unarchive_zero());
        let Some(root) = self.root().filter(|_| !added.is_empty()) else {
            return;
        };
        self.out.persist(Persist::Unarchive { root });
        self.taken_back.held += added.len() as u64;
        for id in added.into_iter().rev() {
            self.adopt_children(&id);
        }
        self.head_dirty = true;
    }

    /// Puts the root's parent back, which is the root from here on. `None` where the round is another's.
    fn unarchive(&mut self, round: Archived) -> Option<CheckpointId> {
        let Archived { seal: signed, proofs } = round;
        let seal = &signed.record;
        let below = self.tree.get(&self.tree.root())?;
        let id = seal.checkpoint().id();
        if below.parent != Some(id) {
            return None;
        }
        let mut convicted: BTreeSet<_> = below.convicted.iter().collect();
        let named = self.seal_of(below).map_or(&[][..], |seal| &seal.proofs);
        for proof in named.iter().filter_map(|id| self.ledger.proof(id)) {
            convicted.remove(&proof.author());
        }
        let root = Root {
            id,
            round: seal.round,
            parent: Some(seal.parent),
            weights: seal.result,
            convicted,
        };
        let (mut node, seal_id) = (root.node(), seal.id());
        node.seals.push(seal_id);
        for proof in &proofs {
            *self.named_proofs.entry(proof.id()).or_default() += 1;
            self.out.persist(Persist::Proof(proof.clone()));
            self.restore_proof(proof.clone());
        }
        self.out.persist(Persist::Seal(signed.clone()));
        self.ledger.add_seal(seal_id, signed);
        self.tree.retreat_root(node);
        self.chain.put_first(id);
        Some(id)
    }

    /// Checkpoint 0 has no seal, so the archive holds its children at most.
    fn unarchive_zero(&mut self) -> Option<CheckpointId> {
        let root = self.tree.get(&self.tree.root())?;
        if root.round != 1 {
            return None;
        }
        let zero = Root::zero(&self.spec);
        let id = zero.id;
        self.tree.retreat_root(zero.node());
        self.chain.put_first(id);
        Some(id)
    }
}
