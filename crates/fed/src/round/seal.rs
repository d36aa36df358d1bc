//! Taking in seals: each makes a checkpoint, or says once more who made it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Persist;
use super::machine::{Machine, Queued};
use super::orphans::Missing;
use super::tree::Node;
use crate::id::{CheckpointId, ContributionId, NodeId, SealId};
use crate::record::{Contribution, MEMBERS_MAX, PROOFS_PER_SEAL_MAX, Seal, Signed};

/// Unnamed seals held a sealer and parent: an honest node makes one, or two when a crash made it forget the first.
const PER_PARENT_MAX: usize = 2;
/// Unnamed seals held a sealer and round, on whatever parents.
const PER_ROUND_MAX: usize = 8;
/// Invalid seals a sealer may have above the horizon before its further ones are ignored unless someone else names them.
const REFUTED_MAX: usize = 4;
/// Seals of one checkpoint held in an open model; a list has at most its members.
const SEALERS_MAX: usize = MEMBERS_MAX;
/// Checkpoints of unknown contributions held in all, unless a quorum vouches for a chain that long. The chain of seals is
/// what a newcomer has of the rounds below the others' horizon; 32,768 of them take about 32 MiB.
const INCOMPLETE_MAX: usize = 32_768;
/// The least such share of one sealer.
const INCOMPLETE_PER_SEALER_MIN: usize = 64;
/// An open model has so many shares: it cannot tell how many seal in it.
const INCOMPLETE_SHARES_OPEN: usize = 8;

/// Checkpoints of a sealer's own that are looked through for someone who builds on them.
const OWN_DESCENDANTS_MAX: usize = 64;

/// Whether it can be checked, its fresh contributions, its id.
type KeepingOrder = (bool, usize, std::cmp::Reverse<CheckpointId>);

fn ascends<T: Ord>(ids: &[T]) -> bool {
    ids.windows(2).all(|pair| pair[0] < pair[1])
}

impl Machine {
    /// What is wrong with it, whatever the receiver knows.
    fn seal_fault(&self, seal: &Seal) -> Option<String> {
        let (fresh, late, proofs) = (seal.fresh.len(), seal.late.len(), seal.proofs.len());
        // One of each kind a member.
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

    /// Takes in anyone's seal.
    pub(super) fn take_seal(&mut self, signed: Signed<Seal>) {
        let seal = &signed.record;
        let id = seal.id();
        if self.ledger.seal(&id).is_some() || self.orphans.has_seal(&id) {
            return;
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
            // Whoever adopted the parent by its digest could not see that, and stands on it in good faith.
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
            // Its proofs are asked for only where it would be held: they would be forgotten with it, and asked for again.
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
                // A function of the records alone: it never becomes valid.
                self.bury(checkpoint, seal.round);
            }
            Ok(convicted) => {
                if self.make_room_for(seal, &checkpoint) {
                    self.link(id, checkpoint, signed, convicted);
                }
            }
        }
    }

    /// A branch that parts from ours below the horizon and that no quorum vouches for: said once a sealer.
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
        self.ledger.add_seal(id, signed);
        self.attest_if_trusted(&checkpoint);
        self.out.round_changed();
    }

    /// Who is convicted from this seal on; a proof against one who already was, or a second one, is a fault.
    fn convicted_by(&self, seal: &Seal, before: &Arc<BTreeSet<NodeId>>) -> Result<Arc<BTreeSet<NodeId>>, String> {
        if seal.proofs.is_empty() {
            return Ok(before.clone());
        }
        let mut convicted = BTreeSet::clone(before);
        for id in &seal.proofs {
            if let Some(proof) = self.ledger.proof(id)
                && !convicted.insert(proof.author())
            {
                return Err(format!("proof {id} convicts one who is convicted already"));
            }
        }
        Ok(Arc::new(convicted))
    }

    /// Whether a late contribution stands in the branch already. Only seals of the last `max_staleness` rounds can list it.
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

    /// Whether someone but its sealer builds on the checkpoint or stands on it. A sealer's own records name nothing: it could
    /// make any number of seals welcome.
    fn is_named(&self, checkpoint: &CheckpointId, sealer: &NodeId) -> bool {
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
        let mut children = children.filter_map(|id| self.tree.get(id));
        self.ballots.on(checkpoint).any(|(author, _)| author != sealer)
            || self
                .orphans
                .contributions_on(checkpoint)
                .any(|c| c.record.author != *sealer)
            || self
                .orphans
                .seals_for(Missing::Parent(*checkpoint))
                .any(|s| s.record.sealer != *sealer)
            || children.any(|node| self.sealers_of(node).iter().any(|by| by != sealer))
            || self.claims.iter().any(|(by, head)| by != sealer && head == checkpoint)
    }

    /// A peer says that it stands on this checkpoint. One claim a member counts: what it holds, others can hold too.
    pub(super) fn claim(&mut self, by: NodeId, head: CheckpointId) {
        let room = self.claims.len() < MEMBERS_MAX || self.claims.contains_key(&by);
        if room && by != self.config.node && self.spec.admits(&by) {
            self.claims.insert(by, head);
        }
    }

    /// Which of a sealer's seals stay, the greatest first: those that can be checked, then those with more fresh contributions,
    /// then the lower id. A function of the records held, so that nodes that hold the same keep the same.
    fn keeping_order(&self, seal: &Seal, checkpoint: CheckpointId) -> KeepingOrder {
        let mut listed = seal.fresh.iter().chain(&seal.late);
        let checkable = listed.all(|id| self.ledger.contribution(id).is_some());
        (checkable, seal.fresh.len(), std::cmp::Reverse(checkpoint))
    }

    /// Whether a seal may be held. Of the unnamed ones of a sealer the best two on a parent and the best eight of a round stay,
    /// so that what every node keeps does not depend on the order of arrival. One that is named always may, and displaces none:
    /// a name can be lost again, and the two would displace each other at every sync.
    fn has_room_for_seal(&self, seal: &Seal, checkpoint: &CheckpointId) -> bool {
        if self.is_always_held(seal, checkpoint) {
            return true;
        }
        let sealer = seal.sealer;
        let refuted = self.refuted.get(&sealer).map_or(0, BTreeMap::len);
        refuted < REFUTED_MAX
            && self.has_room_for_incomplete(seal)
            && self
                .worst_of_crowd(seal)
                .is_none_or(|(order, _)| order < self.keeping_order(seal, *checkpoint))
    }

    /// Drops what a seal that may be held displaces. Says whether it may.
    fn make_room_for(&mut self, seal: &Seal, checkpoint: &CheckpointId) -> bool {
        if !self.has_room_for_seal(seal, checkpoint) {
            return false;
        }
        if !self.is_always_held(seal, checkpoint)
            && let Some((_, worst)) = self.worst_of_crowd(seal)
        {
            self.drop_branch(&worst);
        }
        true
    }

    /// Whether no bound is asked: the store held it, it is this node's own, or others name it.
    fn is_always_held(&self, seal: &Seal, checkpoint: &CheckpointId) -> bool {
        self.restoring || seal.sealer == self.config.node || self.is_named(checkpoint, &seal.sealer)
    }

    /// The least of the sealer's unnamed seals, where there are too many of them for one more.
    fn worst_of_crowd(&self, seal: &Seal) -> Option<(KeepingOrder, CheckpointId)> {
        let of_sealer = self.tree.of_round(seal.round).filter_map(|node| {
            let held = self.seal_of(node).filter(|s| s.sealer == seal.sealer)?;
            Some((node, held))
        });
        let held: Vec<_> = of_sealer
            .filter(|(node, _)| !self.chain.contains(node.round, &node.id) && !self.is_named(&node.id, &seal.sealer))
            .collect();
        let on_parent = held.iter().filter(|(node, _)| node.parent == Some(seal.parent));
        let order = |(node, seal): &(&Node, &Seal)| (self.keeping_order(seal, node.id), node.id);
        if on_parent.clone().count() >= PER_PARENT_MAX {
            on_parent.map(order).min()
        } else if held.len() >= PER_ROUND_MAX {
            held.iter().map(order).min()
        } else {
            None
        }
    }

    /// Whether a seal is one more of those that cannot be checked yet. One of known contributions is none: whoever floods those
    /// keeps out nobody who goes on with the round.
    fn has_room_for_incomplete(&self, seal: &Seal) -> bool {
        let mut listed = seal.fresh.iter().chain(&seal.late);
        let vouched = self.attested.is_some_and(|(round, _)| seal.round <= round);
        if vouched || listed.all(|id| self.ledger.contribution(id).is_some()) {
            return true;
        }
        let shares = self.members().map_or(INCOMPLETE_SHARES_OPEN, BTreeSet::len);
        let share = (INCOMPLETE_MAX / shares.max(1)).max(INCOMPLETE_PER_SEALER_MIN);
        let mine = self.incomplete.get(&seal.sealer).copied().unwrap_or(0);
        mine < share && self.incomplete.values().sum::<usize>() < INCOMPLETE_MAX
    }

    /// Puts a checkpoint into the tree.
    fn link(&mut self, id: SealId, checkpoint: CheckpointId, signed: Signed<Seal>, convicted: Arc<BTreeSet<NodeId>>) {
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
        *self.incomplete.entry(seal.sealer).or_default() += 1;
        self.head_dirty = true;
        self.adopt_children(&checkpoint);
        if missing == 0 {
            self.judge(&checkpoint);
        } else {
            // Some may wait among the orphans: named, they are welcome now.
            let orphans = seal
                .fresh
                .iter()
                .chain(&seal.late)
                .filter_map(|c| self.orphans.take_contribution(c));
            self.queue.extend(orphans.map(Queued::Contribution));
            self.out.want_records([seal.sealer]);
        }
    }

    /// One of the contributions that a checkpoint lists came in.
    pub(super) fn found(&mut self, checkpoint: &CheckpointId) {
        let Some(node) = self.tree.get_mut(checkpoint) else {
            return;
        };
        if node.missing == 0 {
            return;
        }
        node.missing -= 1;
        if node.missing == 0 {
            self.judge(checkpoint);
        }
    }

    /// All that a checkpoint lists is here: may it stand together?
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
                self.head_dirty = true;
            }
        }
    }

    /// The checkpoint no longer counts against its sealer's share of incomplete ones.
    pub(super) fn count_complete(&mut self, checkpoint: &CheckpointId) {
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
            && let Some(count) = self.incomplete.get_mut(&sealer)
        {
            *count -= 1;
            if *count == 0 {
                self.incomplete.remove(&sealer);
            }
        }
    }

    /// Why a seal may not list this contribution where it does; a function of the two records alone.
    pub(super) fn listing_fault(&self, seal: &Seal, id: &ContributionId, c: &Contribution) -> Option<String> {
        if seal.fresh.binary_search(id).is_ok() {
            let fits = c.parent == seal.parent && c.round == seal.round;
            return (!fits).then(|| format!("contribution {id} is not on its parent"));
        }
        let staleness = u64::from(self.spec.rounds.max_staleness);
        let behind = seal.round.saturating_sub(c.round);
        let fits = c.parent != seal.parent && (1..=staleness).contains(&behind);
        (!fits).then(|| format!("contribution {id} is {behind} rounds behind, 1 to {staleness} are taken"))
    }

    /// What is wrong with the contributions that a seal lists: a function of the records alone.
    fn list_fault(&self, seal: &Seal, convicted: &BTreeSet<NodeId>) -> Option<String> {
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

    /// The record behind a checkpoint; `None` for checkpoint 0.
    pub(super) fn seal_of(&self, node: &Node) -> Option<&Seal> {
        let seal = self.ledger.seal(node.seals.first()?)?;
        Some(&seal.record)
    }
}
