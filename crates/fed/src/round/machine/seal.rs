//! Checks seals and takes them in: each seal makes a checkpoint, or adds a sealer to a known one.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, ContributionId, SealId};
use crate::record::{Contribution, MEMBERS_MAX, PROOFS_PER_SEAL_MAX, Seal, Signed};
use crate::round::Persist;
use crate::round::machine::Machine;
use crate::round::table::convicted::Convicted;
use crate::round::table::node::Node;
use crate::round::table::orphans::Missing;
use crate::round::table::queued::Queued;

/// Maximum number of seals of one checkpoint held in an open model; in a list there are at most as many as members.
const SEALERS_MAX: usize = MEMBERS_MAX;
fn ascends<T: Ord>(ids: &[T]) -> bool {
    ids.windows(2).all(|pair| pair[0] < pair[1])
}

impl Machine {
    /// Returns the fault that makes a seal invalid for every receiver, independent of what the receiver knows.
    fn seal_fault(&self, seal: &Seal) -> Option<String> {
        let (fresh, late, proofs) = (seal.fresh.len(), seal.late.len(), seal.proofs.len());
        // At most one contribution of each kind per member.
        let most = self.spec.membership.authors_max();
        if seal.spec != self.spec_id {
            Some(format!("spec {} is not this model's", seal.spec))
        } else if !self.spec.admits(&seal.sealer) {
            Some("its sealer is no member of the model".into())
        } else if !(ascends(&seal.fresh) && ascends(&seal.late) && ascends(&seal.proofs)) {
            Some("its lists do not ascend".into())
        } else if seal.late.iter().any(|id| seal.fresh.binary_search(id).is_ok()) {
            Some("lists one contribution as fresh and as late".into())
        } else if fresh < self.k {
            Some(format!(
                "lists {fresh} fresh contributions, the spec asks for {}",
                self.k
            ))
        } else if fresh > most || late > most || proofs > PROOFS_PER_SEAL_MAX {
            Some(format!(
                "lists more than {most} contributions of a kind or {PROOFS_PER_SEAL_MAX} proofs"
            ))
        } else if late > 0 && self.spec.rounds.max_staleness == 0 {
            Some("lists late contributions, the spec takes none".into())
        } else if seal.round == 0 {
            Some("round 0 is not sealed".into())
        } else {
            None
        }
    }

    fn refuse_seal(&mut self, id: &SealId, seal: &Seal, fault: &str) {
        self.out
            .refuse(seal.sealer, format!("seal {id} of round {}: {fault}", seal.round));
    }

    fn pass_over_seal(&mut self, id: &SealId, seal: &Seal, why: &str) {
        self.out
            .pass_over(seal.sealer, format!("seal {id} of round {}: {why}", seal.round));
    }

    /// Takes in a seal of any node.
    pub(in crate::round) fn take_seal(&mut self, signed: Signed<Seal>) {
        let seal = &signed.record;
        let id = seal.id();
        if self.ledger.seal(&id).is_some() {
            return;
        }
        if self.orphans.has_seal(&id) {
            // The archive may not have been available when the seal came first.
            return self.look_in_archive(seal);
        }
        if let Some(fault) = self.seal_fault(seal) {
            return self.refuse_seal(&id, seal, &fault);
        }
        let checkpoint = seal.checkpoint().id();
        if self.invalid.contains_key(&checkpoint) {
            return;
        }
        if self.tree.get(&checkpoint).is_some() {
            return self.add_sealer(id, checkpoint, signed);
        }
        if self.invalid.contains_key(&seal.parent) {
            // A node that adopted the parent by its digest could not see that, and stands on it in good faith.
            return self.pass_over_seal(&id, seal, "its parent is invalid");
        }
        if seal.round <= self.horizon && self.attested.is_none() {
            return self.refuse_below_horizon(&id, seal);
        }
        let Some(parent) = self.tree.get(&seal.parent) else {
            self.look_in_archive(seal);
            return self.keep_orphan_seal(id, Missing::Parent(seal.parent), signed);
        };
        if parent.round.checked_add(1) != Some(seal.round) {
            let fault = format!("its parent is round {}'s", parent.round);
            return self.refuse_seal(&id, seal, &fault);
        }
        if let Some(unknown) = seal.proofs.iter().find(|p| self.ledger.proof(p).is_none()) {
            // Its proofs are asked for only if the seal would be held. Otherwise they
            // would be forgotten with it, and asked for again.
            if self.has_room_for_seal(seal, &checkpoint) {
                self.keep_orphan_seal(id, Missing::Proof(*unknown), signed);
            }
            return;
        }
        let fault = match self.convicted_by(seal, &parent.convicted) {
            Ok(_) if self.repeats(seal) => Err("lists what its branch lists already".to_owned()),
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
        if self.told_below_horizon.len() < MEMBERS_MAX && self.told_below_horizon.insert(seal.sealer) {
            let fault = format!("an unconfirmed branch from below the horizon (round {})", self.horizon);
            self.pass_over_seal(id, seal, &fault);
        }
    }

    fn keep_orphan_seal(&mut self, id: SealId, missing: Missing, signed: Signed<Seal>) {
        let sealer = signed.record.sealer;
        if self.orphans.add_seal(id, missing, signed) {
            self.out.want_records([sealer]);
        }
    }

    fn add_sealer(&mut self, id: SealId, checkpoint: CheckpointId, signed: Signed<Seal>) {
        let Some(node) = self.tree.get_mut(&checkpoint) else {
            return;
        };
        if node.seals.len() >= SEALERS_MAX {
            return;
        }
        node.seals.push(id);
        self.out.persist(Persist::Seal(signed.clone()));
        let parent = signed.record.parent;
        self.ledger.add_seal(id, signed);
        if !self.is_list {
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
            if let Some(proof) = self.ledger.proof(id)
                && !convicted.insert(proof.author())
            {
                return Err(format!("proof {id} convicts one who is convicted already"));
            }
        }
        Ok(convicted)
    }

    /// Returns true if the branch lists a late contribution of this seal already. Only
    /// seals of the last `max_staleness` rounds can list it.
    fn repeats(&self, seal: &Seal) -> bool {
        let mut at = self.tree.get(&seal.parent);
        let mut steps = if seal.late.is_empty() {
            0
        } else {
            self.spec.rounds.max_staleness
        };
        while let Some(node) = at.filter(|_| steps > 0) {
            if let Some(listed) = self.seal_of(node)
                && seal
                    .late
                    .iter()
                    .any(|id| listed.fresh.binary_search(id).is_ok() || listed.late.binary_search(id).is_ok())
            {
                return true;
            }
            at = node.parent.and_then(|p| self.tree.get(&p));
            steps -= 1;
        }
        false
    }

    /// Puts a checkpoint into the tree.
    fn link(&mut self, id: SealId, checkpoint: CheckpointId, signed: Signed<Seal>, convicted: Convicted) {
        let seal = signed.record.clone();
        let parent = self.tree.get(&seal.parent);
        let mut node = Node::new(checkpoint, seal.round, parent, seal.result, convicted);
        node.fresh = seal.fresh.len();
        node.seals.push(id);
        for listed in seal.fresh.iter().chain(&seal.late) {
            self.named.entry(*listed).or_default().insert(checkpoint);
            if self.ledger.contribution(listed).is_none() {
                node.missing += 1;
            }
        }
        let missing = node.missing;
        node.incomplete = true;
        node.verified = self.known_verified.remove(&checkpoint);
        if node.verified {
            self.blobs.weights.set_here(node.result);
        }
        for proof in &seal.proofs {
            *self.named_proofs.entry(*proof).or_default() += 1;
            self.proof_use.loose.insert(*proof);
        }
        self.out.persist(Persist::Seal(signed.clone()));
        self.ledger.add_seal(id, signed);
        self.tree.add(node);
        if seal.round <= self.horizon {
            self.doubted.insert(checkpoint);
        }
        if self.attested.is_some_and(|(_, id)| id == checkpoint) {
            self.attested = None;
        }
        self.shares.incomplete.add(seal.sealer);
        self.file_if_unnamed(&checkpoint);
        self.name_gained(&seal.parent);
        self.head_dirty = true;
        self.adopt_children(&checkpoint);
        if missing == 0 {
            self.judge(&checkpoint);
        } else {
            // Some listed contributions may wait among the orphans: now a seal names them, so they are welcome.
            let orphans = seal
                .fresh
                .iter()
                .chain(&seal.late)
                .filter_map(|c| self.orphans.take_contribution(c));
            self.queue.extend(orphans.map(Queued::Contribution));
            self.out.want_records([seal.sealer]);
        }
    }

    /// Notes that one of the contributions that a checkpoint lists came in.
    pub(in crate::round) fn found(&mut self, checkpoint: &CheckpointId) {
        let Some(node) = self.tree.get_mut(checkpoint) else {
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
        let Some(node) = self.tree.get(checkpoint) else { return };
        let Some(seal) = self.seal_of(node) else { return };
        let fault = self.list_fault(seal, &node.convicted);
        self.count_complete(checkpoint);
        match fault {
            Some(fault) => self.invalidate(checkpoint, &fault),
            None => {
                if let Some(node) = self.tree.get_mut(checkpoint) {
                    node.complete = true;
                }
                self.tree.review(checkpoint);
                self.step_moved(checkpoint);
                self.head_dirty = true;
            }
        }
    }

    /// Notes that the checkpoint no longer counts against its sealer's share of incomplete ones.
    pub(in crate::round) fn count_complete(&mut self, checkpoint: &CheckpointId) {
        let Some(sealer) = self
            .tree
            .get(checkpoint)
            .and_then(|n| self.seal_of(n))
            .map(|s| s.sealer)
        else {
            return;
        };
        if let Some(node) = self.tree.get_mut(checkpoint)
            && std::mem::take(&mut node.incomplete)
        {
            self.shares.incomplete.remove(&sealer);
        }
    }

    /// Returns the reason why a seal may not list this contribution where it does; a function of the two records alone.
    pub(in crate::round) fn listing_fault(&self, seal: &Seal, id: &ContributionId, c: &Contribution) -> Option<String> {
        if seal.fresh.binary_search(id).is_ok() {
            let fits = c.parent == seal.parent && c.round == seal.round;
            return (!fits).then(|| format!("contribution {id} is not on its parent"));
        }
        let staleness = u64::from(self.spec.rounds.max_staleness);
        let behind = seal.round.saturating_sub(c.round);
        let fits = c.parent != seal.parent && (1..=staleness).contains(&behind);
        (!fits).then(|| format!("contribution {id} is {behind} rounds behind, 1 to {staleness} are taken"))
    }

    /// Returns the fault of the contributions that a seal lists: a function of the records, and of the updates found bad.
    fn list_fault(&self, seal: &Seal, convicted: &Convicted) -> Option<String> {
        let mut fresh = BTreeSet::new();
        let mut late = BTreeSet::new();
        let check = |id: &ContributionId| {
            let c = &self.ledger.contribution(id)?.record;
            if convicted.contains(&c.author) {
                return Some(format!("contribution {id} is by a convicted member"));
            }
            let bad = self.blobs.updates.is_bad(&c.update);
            bad.then(|| format!("lists contribution {id}, whose update is no update"))
        };
        for id in &seal.fresh {
            let c = &self.ledger.contribution(id)?.record;
            if let Some(fault) = self.listing_fault(seal, id, c) {
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
            let c = &self.ledger.contribution(id)?.record;
            if let Some(fault) = self.listing_fault(seal, id, c) {
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

    /// The [`Seal`] behind a checkpoint; `None` if no seal of it is in memory, as for checkpoint 0.
    pub(in crate::round) fn seal_of(&self, node: &Node) -> Option<&Seal> {
        let seal = self.ledger.seal(node.seals.first()?)?;
        Some(&seal.record)
    }
}
