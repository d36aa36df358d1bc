//! The choice of the head (the checkpoint that this node stands on), and the work to verify checkpoints that would be the head.

use crate::id::CheckpointId;
use crate::round::machine::Machine;
use crate::round::table::path::Path;
use crate::round::table::pursuits::Pursuits;
use crate::round::table::rank::Rank;
use crate::round::{Forgotten, Output, Persist, Refused};

/// Maximum number of tombstones of invalid checkpoints. With a tombstone a seal need not be looked at again. Beyond the limit
/// the tombstone of the oldest round goes.
const INVALID_MAX: usize = 4_096;

/// Maximum number of steps whose updates are fetched while an earlier step is recomputed.
const STEPS_AHEAD_MAX: usize = 16;
/// Maximum number of blobs asked for at once for one leaf.
const PREFETCH_MAX: usize = 64;

/// Maximum number of rounds behind an attested checkpoint at which a node recomputes
/// while it fetches the weights of that checkpoint.
const SIDE_BY_SIDE_ROUNDS_MAX: usize = 4;

/// The work to do for a leaf.
struct Aim {
    /// The first unverified checkpoint on the way to the leaf.
    step: CheckpointId,
    /// The newest checkpoint on the way that may be adopted by its digest.
    attested: Option<CheckpointId>,
    /// The steps after the next one, whose updates are fetched meanwhile.
    ahead: Vec<CheckpointId>,
}

impl Machine {
    /// Moves the head to the greatest verified checkpoint, and works on the leaves that would be greater.
    ///
    /// A child ranks above its parent, so only the paths of the leaves need to be looked at,
    /// and a path ends at the first verified checkpoint.
    pub(in crate::round) fn choose_head(&mut self) {
        let best = self.history.tree.leaves.best_verified();
        if let Some(best) = best
            && best.id.0 != self.history.chain.head()
        {
            self.move_head(&best.id.0);
        }
        if self.rules.is_list {
            // The leaves of a list are few.
            self.history.tree.look_at_all_again();
            self.fetching.pursuits = Pursuits::default();
        }
        for leaf in self.history.tree.take_left(best) {
            self.fetching.pursuits.release(&leaf);
        }
        for id in self.fetching.jobs.take_due_retries(self.now) {
            self.job_moved(&id);
        }
        self.look_at_long_way_again();
        for leaf in self.history.tree.leaves.unseen_above(best) {
            self.look_at(&leaf, best);
        }
        while let Some(leaf) = self
            .history
            .tree
            .leaves
            .next_ready(best)
            .filter(|_| self.fetching.jobs.has_room())
        {
            self.look_at(&leaf, best);
            if self.fetching.jobs.has_room() && self.history.tree.leaves.next_ready(best) == Some(leaf) {
                break;
            }
        }
        // Checkpoint 0 is never pursued itself, so its entry stands for the blobs that the head needs.
        let (zero, head) = (self.rules.zero, self.history.chain.head());
        self.fetching.pursuits.begin(zero, zero, None);
        self.want_content_of(&zero, &head);
        self.verify_bound(&zero);
        self.dirty.wants = true;
    }

    /// Looks again at the greatest leaf if the way to it is long, because each blob that comes makes room for another one.
    fn look_at_long_way_again(&mut self) {
        let top = self.history.tree.leaves().next().map(|rank| rank.id.0);
        let long = self.fetching.cached_path.as_ref().filter(|path| path.len() > 1);
        if let Some(top) = top.filter(|top| long.is_some_and(|path| path.front() == Some(top))) {
            self.history.tree.set_seen(&top, false, false);
        }
    }

    /// Works on a leaf that would be the head.
    fn look_at(&mut self, leaf: &Rank, best: Option<Rank>) {
        let id = leaf.id.0;
        let is_above = self
            .history
            .tree
            .get(&id)
            .is_some_and(|node| self.history.tree.rank(node) == *leaf);
        if !is_above || best.is_some_and(|best| *leaf <= best) {
            return;
        }
        let first = self.history.tree.leaves().next() == Some(leaf);
        let path = self.path_from(id, first);
        let Some(aim) = self.aim_of(&path) else { return };
        if first {
            self.fetching.cached_path = Some(path);
        }
        let proposal = self.history.proposal_of(&aim.step).map(|proposal| proposal.id());
        self.fetching.pursuits.begin(id, aim.step, proposal);
        self.history.tree.set_seen(&id, true, false);
        self.pursue(&id, &aim);
        let ready =
            self.can_recompute(&aim.step) && proposal.is_some_and(|id| self.fetching.jobs.may_start(&id, self.now));
        if ready && self.history.tree.get(&id).is_some_and(|node| node.is_seen()) {
            self.history.tree.set_seen(&id, true, true);
        }
    }

    /// The unverified checkpoints on the way of a leaf, as a [`Path`]. The path of the best leaf is kept from one time to the
    /// next, so that a node that catches up over thousands of rounds walks it once.
    fn path_from(&mut self, leaf: CheckpointId, first: bool) -> Path {
        let mut path = Path::new();
        if first && let Some(cached) = self.fetching.cached_path.take() {
            let above = self.history.tree.get(&leaf).and_then(|n| n.parent);
            if cached.front() == Some(&leaf) {
                path = cached;
            } else if cached.front().copied() == above && above.is_some() {
                path = cached;
                path.push_front(leaf);
            }
            while path
                .back()
                .and_then(|id| self.history.tree.get(id))
                .is_some_and(|n| n.verified)
            {
                path.pop_back();
            }
        }
        let mut at = match path.back() {
            Some(last) => self.history.tree.get(last).and_then(|n| n.parent),
            None => Some(leaf),
        };
        while let Some(node) = at.and_then(|id| self.history.tree.get(&id)).filter(|n| !n.verified) {
            path.push_back(node.id);
            at = node.parent;
        }
        path
    }

    /// The [`Aim`] for a leaf: the next step, and the newest checkpoint on the way that may be adopted by its digest.
    fn aim_of(&self, path: &Path) -> Option<Aim> {
        let leaf = self.history.tree.get(path.front()?)?;
        let step = self.history.tree.get(path.back()?)?;
        let attested = (leaf.attested > 0 && leaf.attested >= step.round).then(|| {
            let back = usize::try_from(leaf.round - leaf.attested).unwrap_or(usize::MAX);
            path.get(back).copied()
        });
        Some(Aim {
            step: step.id,
            attested: attested.flatten(),
            ahead: path.iter().rev().skip(1).take(STEPS_AHEAD_MAX).copied().collect(),
        })
    }

    /// Works towards a leaf that would be the head: adopts an attested checkpoint by its digest, or recomputes the next step.
    fn pursue(&mut self, leaf: &CheckpointId, aim: &Aim) {
        let Some(attested) = aim.attested else {
            self.recompute(leaf, &aim.step);
            return self.prefetch(leaf, &aim.ahead);
        };
        let round = |id| self.history.tree.get(id).map_or(0, |node| node.round);
        let behind = usize::try_from(round(&attested).saturating_sub(round(&aim.step))).unwrap_or(usize::MAX);
        if behind > 0 || !self.can_recompute(&aim.step) {
            self.adopt(leaf, &attested);
        }
        // A few updates may be here sooner than the whole weights, and the holder of either may be gone.
        if behind <= SIDE_BY_SIDE_ROUNDS_MAX {
            self.recompute(leaf, &aim.step);
            self.prefetch(leaf, aim.ahead.get(..behind).unwrap_or(&aim.ahead));
        }
    }

    /// Asks for updates of the steps after the next one, because one fetch per step
    /// would make catching up slower than a fast model.
    fn prefetch(&mut self, leaf: &CheckpointId, steps: &[CheckpointId]) {
        for step in steps {
            let Some(node) = self.history.tree.get(step).filter(|n| n.complete) else {
                return;
            };
            let holders = self.history.sealers_of(node);
            let Some(seal) = self.history.seal_of(node) else { return };
            let listed: Vec<_> = seal.fresh.iter().chain(&seal.late).copied().collect();
            for id in listed {
                if self.fetching.pursuits.count(leaf) >= PREFETCH_MAX {
                    return;
                }
                if let Some((blob, want)) = self.want_update(&id, &holders) {
                    self.pursue_blob(leaf, blob, want);
                }
            }
        }
    }

    /// Adopts an attested checkpoint once its blobs are here; asks for them before.
    pub(in crate::round) fn adopt(&mut self, leaf: &CheckpointId, id: &CheckpointId) {
        let Some(node) = self.history.tree.get(id) else { return };
        let content = node.content;
        if self.fetching.blobs.are_here(&content) {
            self.mark_verified(*id);
            return;
        }
        let holders = self
            .history
            .sealers_of(node)
            .into_iter()
            .chain(self.history.ballots.on(id).map(|(author, _)| *author));
        let holders = holders.take(16).collect();
        self.pursue_content(leaf, &content, holders);
    }

    /// Notes that the weights of a checkpoint are here and right.
    pub(in crate::round) fn mark_verified(&mut self, id: CheckpointId) {
        let Some(node) = self.history.tree.get_mut(&id) else {
            return;
        };
        if node.verified {
            return;
        }
        node.verified = true;
        // A checkpoint that was verified in the middle of the cached path ends the path
        // there. The path is dropped; the new walk is short.
        self.fetching.cached_path.take_if(|path| path.back() != Some(&id));
        let (content, parent) = (node.content, node.parent);
        self.fetching.blobs.set_here(&content);
        self.history.tree.review(&id);
        for (_, blob) in content.blobs() {
            self.pursued_came(&blob);
        }
        self.step_moved(&id);
        if parent
            .and_then(|id| self.history.tree.get(&id))
            .is_some_and(|node| !node.verified)
        {
            // The checkpoint was adopted in the middle of a way, so each leaf on that way goes on from here.
            self.history.tree.look_at_all_again();
        }
        self.out.persist(Persist::Verified(id));
        self.dirty.head = true;
        if id == self.history.chain.head() {
            self.announce_head();
        }
    }

    pub(in crate::round) fn announce_head(&mut self) {
        let Some(node) = self.history.tree.get(&self.history.chain.head()).filter(|n| n.verified) else {
            return;
        };
        self.out.act(Output::Head {
            checkpoint: node.id,
            round: node.round,
            weights: node.content.weights,
        });
        self.out.round_changed();
        self.dirty.round = true;
        self.dirty.chain = true;
    }

    fn move_head(&mut self, to: &CheckpointId) {
        let before = self.history.chain.round();
        let from = self.history.chain.head();
        self.leave_shares(to);
        self.history.chain.stand_on(to, &self.history.tree);
        self.doubt_names_off_chain(&from);
        let grew = self.history.chain.contains(before, &from) && self.history.chain.round() == before + 1;
        self.forget_results();
        self.open_round_on_head(grew);
        self.announce_head();
        self.dirty.wants = true;
    }

    /// Makes a checkpoint invalid for ever, and drops it with all that was built on it.
    pub(in crate::round) fn invalidate(&mut self, id: &CheckpointId, fault: &str) {
        let Some(node) = self.history.tree.get(id) else { return };
        let (round, parent) = (node.round, node.parent);
        let sealers = self.history.sealers_of(node);
        for sealer in sealers {
            let reason = format!("checkpoint {id} of round {round}: {fault}");
            self.out.refuse(sealer, Refused::Result, reason);
            if let Some(parent) = parent {
                self.history
                    .refuted
                    .entry(sealer)
                    .or_default()
                    .insert(*id, (parent, round));
            }
        }
        for (id, round) in self.drop_branch(id) {
            self.bury(id, round);
        }
    }

    /// Remembers that a checkpoint is invalid for ever. Keeps at most [`INVALID_MAX`] of them.
    pub(in crate::round) fn bury(&mut self, id: CheckpointId, round: u64) {
        self.history.invalid.insert(id, round);
        while self.history.invalid.len() > INVALID_MAX {
            let oldest = self
                .history
                .invalid
                .iter()
                .min_by_key(|(_, round)| **round)
                .map(|(id, _)| *id);
            oldest.map(|id| self.history.invalid.remove(&id));
        }
    }

    /// Forgets a checkpoint and all its descendants. Returns their ids and rounds.
    pub(in crate::round) fn drop_branch(&mut self, id: &CheckpointId) -> Vec<(CheckpointId, u64)> {
        let mut order = vec![*id];
        let mut next = 0;
        while let Some(node) = order.get(next).and_then(|at| self.history.tree.get(at)) {
            order.extend(&node.children);
            next += 1;
        }
        for at in &order {
            self.count_complete(at);
            self.unname(at);
        }
        let removed = self.history.tree.remove(id);
        let mut gone = Forgotten::default();
        let mut broken = false;
        self.intake
            .shares
            .doubted
            .extend(removed.first().and_then(|node| node.parent));
        for node in &removed {
            self.intake.shares.unfile(&node.id);
            self.unname_proofs(node);
            gone.verified.extend(node.verified.then_some(node.id));
            gone.seals.extend(
                node.seals
                    .iter()
                    .filter(|id| self.history.ledger.remove_seal(id).is_some()),
            );
            self.release(&node.content);
            if self.history.chain.contains(node.round, &node.id) {
                broken = true;
            }
        }
        if !gone.seals.is_empty() {
            self.out.persist(Persist::Forget(gone));
        }
        if broken && let Some(parent) = removed.first().and_then(|n| n.parent) {
            self.move_head(&parent);
        }
        self.dirty.head = true;
        self.dirty.round = true;
        removed.iter().map(|n| (n.id, n.round)).collect()
    }

    /// Notes that a checkpoint no longer names the contributions that it lists.
    pub(in crate::round) fn unname(&mut self, id: &CheckpointId) {
        let Some(seal) = self.history.tree.get(id).and_then(|n| self.history.seal_of(n)) else {
            return;
        };
        let listed: Vec<_> = seal.fresh.iter().chain(&seal.late).copied().collect();
        for contribution in listed {
            if let Some(by) = self.history.named.get_mut(&contribution) {
                by.remove(id);
                if by.is_empty() {
                    self.history.named.remove(&contribution);
                }
            }
        }
    }
}
