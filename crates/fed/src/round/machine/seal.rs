//! Checks seals and takes them in: each seal makes a checkpoint, or adds a sealer to a known one.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, ContributionId, ProofId, SealId};
use crate::record::{MEMBERS_MAX, Seal, Signed};
use crate::round::machine::Machine;
use crate::round::table::convicted::Convicted;
use crate::round::table::node::Node;
use crate::round::table::orphans::Missing;
use crate::round::table::queued::Queued;
use crate::round::{Persist, Refused};

/// Maximum number of seals of one checkpoint held in an open model; in a list there are at most as many as members.
const SEALERS_MAX: usize = MEMBERS_MAX;

impl Machine {
    fn refuse_seal(&mut self, id: &SealId, seal: &Seal, fault: &str) {
        let reason = format!("seal {id} of round {}: {fault}", seal.round);
        self.out.refuse(seal.sealer, Refused::Seal, reason);
    }

    fn pass_over_seal(&mut self, id: &SealId, seal: &Seal, why: &str) {
        let reason = format!("seal {id} of round {}: {why}", seal.round);
        self.out.pass_over(seal.sealer, Refused::Seal, reason);
    }

    /// Takes in a seal of any node.
    pub(in crate::round) fn take_seal(&mut self, signed: Signed<Seal>) {
        let seal = &signed.record;
        let id = seal.id();
        if self.history.ledger.seal(&id).is_some() {
            return;
        }
        if self.history.orphans.has_seal(&id) {
            // The archive may not have been available when the seal came first.
            return self.look_in_archive(seal);
        }
        if let Some(fault) = self.rules.seal_fault(seal) {
            return self.refuse_seal(&id, seal, &fault);
        }
        let checkpoint = seal.checkpoint().id();
        if self.history.invalid.contains_key(&checkpoint) {
            return;
        }
        if self.history.tree.get(&checkpoint).is_some() {
            return self.add_sealer(id, checkpoint, signed);
        }
        if self.history.invalid.contains_key(&seal.parent) {
            // A node that adopted the parent by its digest could not see that, and stands on it in good faith.
            return self.pass_over_seal(&id, seal, "its parent is invalid");
        }
        if seal.round <= self.history.horizon && self.search.attested.is_none() {
            return self.refuse_below_horizon(&id, seal);
        }
        let Some(parent) = self.history.tree.get(&seal.parent) else {
            self.look_in_archive(seal);
            return self.keep_orphan_seal(id, Missing::Parent(seal.parent), signed);
        };
        if parent.round.checked_add(1) != Some(seal.round) {
            let fault = format!("its parent is round {}'s", parent.round);
            return self.refuse_seal(&id, seal, &fault);
        }
        if let Some(unknown) = seal.proofs.iter().find(|p| self.history.ledger.proof(p).is_none()) {
            // Its proofs are asked for only if the seal would be held. Otherwise they
            // would be forgotten with it, and asked for again.
            if self.has_room_for_seal(seal, &checkpoint) {
                self.keep_orphan_seal(id, Missing::Proof(*unknown), signed);
            }
            return;
        }
        let fault = match self.convicted_by(seal, &parent.convicted) {
            Ok(_) if self.history.repeats(&self.rules, seal) => Err("lists what its branch lists already".to_owned()),
            convicted => convicted,
        };
        match fault {
            Err(fault) => {
                self.refuse_seal(&id, seal, &fault);
                // The fault is a function of the records alone, so the seal never becomes valid.
                self.bury(checkpoint, seal.round);
            }
            Ok(convicted) => {
                if self.make_room_for(seal, &checkpoint) {
                    self.link(id, checkpoint, signed, convicted);
                }
            }
        }
    }

    /// Refuses a branch that parts from this node's branch below the horizon and that no
    /// quorum vouches for. Reports it once per sealer.
    fn refuse_below_horizon(&mut self, id: &SealId, seal: &Seal) {
        if self.out.told_below_horizon.len() < MEMBERS_MAX && self.out.told_below_horizon.insert(seal.sealer) {
            let fault = format!(
                "an unconfirmed branch from below the horizon (round {})",
                self.history.horizon
            );
            self.pass_over_seal(id, seal, &fault);
        }
    }

    fn keep_orphan_seal(&mut self, id: SealId, missing: Missing, signed: Signed<Seal>) {
        let sealer = signed.record.sealer;
        if self.history.orphans.add_seal(id, missing, signed) {
            self.out.want_records([sealer]);
        }
    }

    fn add_sealer(&mut self, id: SealId, checkpoint: CheckpointId, signed: Signed<Seal>) {
        let Some(node) = self.history.tree.get_mut(&checkpoint) else {
            return;
        };
        if node.seals.len() >= SEALERS_MAX {
            return;
        }
        node.seals.push(id);
        // The root of a start is in the tree before its seal comes: this seal is its first.
        if node.seals.len() == 1 {
            self.name_proofs(&signed.record.proofs);
        }
        self.out.persist(Persist::Seal(signed.clone()));
        let parent = signed.record.parent;
        self.history.ledger.add_seal(id, signed);
        if !self.rules.is_list {
            self.refile(&checkpoint);
            self.trim_shares(&checkpoint);
        }
        self.name_gained(&checkpoint);
        self.name_gained(&parent);
        self.attest_if_trusted(&checkpoint);
        self.out.round_changed();
    }

    /// Returns the nodes that are convicted from this seal on. A proof against a node that is convicted already, or a second
    /// proof against one node, is a fault.
    fn convicted_by(&self, seal: &Seal, before: &Convicted) -> Result<Convicted, String> {
        let mut convicted = before.clone();
        for id in &seal.proofs {
            if let Some(proof) = self.history.ledger.proof(id)
                && !convicted.insert(proof.author())
            {
                return Err(format!("proof {id} convicts one who is convicted already"));
            }
        }
        Ok(convicted)
    }

    /// Counts one checkpoint more that names each of these proofs.
    pub(super) fn name_proofs(&mut self, proofs: &[ProofId]) {
        for proof in proofs {
            *self.history.proofs.named.entry(*proof).or_default() += 1;
            self.history.proofs.loose.insert(*proof);
        }
    }

    /// Puts a checkpoint into the tree.
    fn link(&mut self, id: SealId, checkpoint: CheckpointId, signed: Signed<Seal>, convicted: Convicted) {
        let seal = signed.record.clone();
        let parent = self.history.tree.get(&seal.parent);
        let mut node = self.with_end(Node::new(checkpoint, seal.round, parent, seal.result, convicted));
        node.fresh = seal.fresh.len();
        node.seals.push(id);
        for listed in seal.fresh.iter().chain(&seal.late) {
            self.history.named.entry(*listed).or_default().insert(checkpoint);
            if self.history.ledger.contribution(listed).is_none() {
                node.missing += 1;
            }
        }
        let missing = node.missing;
        node.incomplete = true;
        node.verified = self.intake.known_verified.remove(&checkpoint);
        if node.verified {
            self.fetching.blobs.set_here(&node.content);
        }
        self.name_proofs(&seal.proofs);
        self.out.persist(Persist::Seal(signed.clone()));
        self.history.ledger.add_seal(id, signed);
        self.history.tree.add(node);
        if seal.round <= self.history.horizon {
            self.search.doubted.insert(checkpoint);
        }
        if self.search.attested.is_some_and(|(_, id)| id == checkpoint) {
            self.search.attested = None;
        }
        self.intake.shares.incomplete.add(seal.sealer);
        self.file_if_unnamed(&checkpoint);
        self.name_gained(&seal.parent);
        self.dirty.head = true;
        self.adopt_children(&checkpoint);
        if missing == 0 {
            self.judge(&checkpoint);
        } else {
            // Some listed contributions may wait among the orphans: now a seal names them, so they are welcome.
            let orphans = seal
                .fresh
                .iter()
                .chain(&seal.late)
                .filter_map(|c| self.history.orphans.take_contribution(c));
            self.intake.queue.extend(orphans.map(Queued::Contribution));
            self.out.want_records([seal.sealer]);
        }
    }

    /// Notes that one of the contributions that a checkpoint lists came in.
    pub(in crate::round) fn found(&mut self, checkpoint: &CheckpointId) {
        let Some(node) = self.history.tree.get_mut(checkpoint) else {
            return;
        };
        if node.missing == 0 {
            return;
        }
        node.missing -= 1;
        if node.missing == 0 {
            self.refile(checkpoint);
            self.judge(checkpoint);
        }
    }

    /// Judges a checkpoint once all that it lists is here: its contributions may stand together, or it is invalid.
    fn judge(&mut self, checkpoint: &CheckpointId) {
        let Some(node) = self.history.tree.get(checkpoint) else {
            return;
        };
        let Some(seal) = self.history.seal_of(node) else { return };
        let fault = self.list_fault(seal, &node.convicted);
        self.count_complete(checkpoint);
        match fault {
            Some(fault) => self.invalidate(checkpoint, &fault),
            None => {
                if let Some(node) = self.history.tree.get_mut(checkpoint) {
                    node.complete = true;
                }
                self.history.tree.review(checkpoint);
                self.step_moved(checkpoint);
                self.dirty.head = true;
                self.end_if_reached(checkpoint);
            }
        }
    }

    /// Notes that the checkpoint no longer counts against its sealer's share of incomplete ones.
    pub(in crate::round) fn count_complete(&mut self, checkpoint: &CheckpointId) {
        let Some(sealer) = self
            .history
            .tree
            .get(checkpoint)
            .and_then(|n| self.history.seal_of(n))
            .map(|s| s.sealer)
        else {
            return;
        };
        if let Some(node) = self.history.tree.get_mut(checkpoint)
            && std::mem::take(&mut node.incomplete)
        {
            self.intake.shares.incomplete.remove(&sealer);
        }
    }

    /// Returns the fault of the contributions that a seal lists: a function of the records, and of the updates found bad.
    fn list_fault(&self, seal: &Seal, convicted: &Convicted) -> Option<String> {
        let mut fresh = BTreeSet::new();
        let mut late = BTreeSet::new();
        let check = |id: &ContributionId| {
            let c = &self.history.ledger.contribution(id)?.record;
            if convicted.contains(&c.author) {
                return Some(format!("contribution {id} is by a convicted member"));
            }
            let bad = self.fetching.blobs.updates.is_bad(&c.update);
            bad.then(|| format!("lists contribution {id}, whose update is no update"))
        };
        for id in &seal.fresh {
            let c = &self.history.ledger.contribution(id)?.record;
            if let Some(fault) = self.rules.listing_fault(seal, id, c) {
                return Some(fault);
            }
            if !fresh.insert(c.author) {
                return Some(format!("lists two fresh contributions by {}", c.author));
            }
            if let Some(fault) = check(id) {
                return Some(fault);
            }
        }
        for id in &seal.late {
            let c = &self.history.ledger.contribution(id)?.record;
            if let Some(fault) = self.rules.listing_fault(seal, id, c) {
                return Some(fault);
            }
            if !late.insert(c.author) {
                return Some(format!("lists two late contributions by {}", c.author));
            }
            if let Some(fault) = check(id) {
                return Some(fault);
            }
        }
        None
    }
}
