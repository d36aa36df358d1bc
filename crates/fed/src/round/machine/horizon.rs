//! The horizon: the round up to which records are forgotten. Only the seals of the head's branch
//! stay below it, and they soon go to the archive.

use crate::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId};
use crate::record::{BlobRole, Content};
use crate::round::machine::Machine;
use crate::round::machine::limits::MARGIN_ROUNDS;
use crate::round::table::node::Node;
use crate::round::{Forgotten, Persist};

impl Machine {
    /// Moves the horizon up after the newest settled round. Returns true if the horizon moved.
    pub(in crate::round) fn prune(&mut self) -> bool {
        let Some(keep) = self.rules.config.keep_rounds else {
            return false;
        };
        let keep = keep.max(u64::from(self.rules.spec.rounds.max_staleness) + MARGIN_ROUNDS);
        let before = self.history.horizon;
        // The contributions of the last round stay: they say that the run has ended.
        let end = self
            .history
            .tree
            .get(&self.history.chain.head())
            .and_then(|head| head.end);
        let most = end.map_or(u64::MAX, |end| end.saturating_sub(1));
        let horizon = self.history.settled_round().saturating_sub(keep).min(most);
        while self.history.horizon < horizon {
            self.history.horizon += 1;
            self.forget_round(self.history.horizon);
        }
        if self
            .search
            .attested
            .is_some_and(|(round, _)| round <= self.history.horizon)
        {
            self.search.attested = None;
        }
        if self.search.attested.is_none() {
            for id in std::mem::take(&mut self.search.doubted) {
                // The branch was let in for an attested checkpoint, whose blobs may still be on their way here.
                if self.leads_to_adoption(&id) {
                    self.search.doubted.insert(id);
                } else {
                    self.drop_off_chain(&id);
                }
            }
        }
        self.history.horizon > before
    }

    /// Returns true if an attested checkpoint above the head's rank is on a branch through this checkpoint.
    fn leads_to_adoption(&self, id: &CheckpointId) -> bool {
        let Some(head) = self.history.tree.get(&self.history.chain.head()) else {
            return false;
        };
        let best = self.history.tree.rank(head);
        let mut open = vec![*id];
        while let Some(node) = open.pop().and_then(|id| self.history.tree.get(&id)) {
            if node.attested == node.round && self.history.tree.rank(node) > best {
                return true;
            }
            open.extend(&node.children);
        }
        false
    }

    fn drop_off_chain(&mut self, id: &CheckpointId) {
        if self
            .history
            .tree
            .get(id)
            .is_some_and(|n| !self.history.chain.contains(n.round, id))
        {
            self.drop_branch(id);
        }
    }

    fn forget_round(&mut self, round: u64) {
        let off_chain = self
            .history
            .tree
            .of_round(round)
            .filter(|n| !self.history.chain.contains(round, &n.id));
        let off_chain: Vec<_> = off_chain.map(|n| n.id).collect();
        for id in off_chain {
            self.drop_branch(&id);
        }
        if let Some(id) = self.history.chain.at(round) {
            self.count_complete(&id);
            self.unname(&id);
            if let Some(node) = self.history.tree.get(&id).filter(|n| n.parent.is_some()) {
                let content = node.content;
                self.forget_content(&content, round);
            }
        }
        let old: Vec<ContributionId> = self
            .history
            .ledger
            .contributions_of(round, round)
            .map(|(id, _)| id)
            .collect();
        self.forget_contributions(old);
        self.history.orphans.forget_through(round);
        self.history.invalid.retain(|_, at| *at > round);
        self.history.refuted.retain(|_, refuted| {
            refuted.retain(|_, (_, at)| *at > round);
            !refuted.is_empty()
        });
        self.forget_served_proofs();
    }

    /// Forgets contributions, except those of this node whose submissions have no final answer yet.
    fn forget_contributions(&mut self, mut old: Vec<ContributionId>) {
        old.retain(|id| !self.is_unsettled(id));
        for id in &old {
            if let Some(signed) = self.history.ledger.remove_contribution(id) {
                let c = &signed.record;
                self.history.ballots.remove(*id, c);
                self.fetching.blobs.remove_user(id, c);
                self.submissions.forget(id, &c.parent);
                self.intake.shares.doubted.insert(c.parent);
                self.history
                    .proofs
                    .loose
                    .extend(self.history.proofs.proved.get(&c.author));
            }
        }
        if !old.is_empty() {
            self.out.persist(Persist::Forget(Forgotten {
                contributions: old,
                ..Forgotten::default()
            }));
        }
    }

    /// Forgets a contribution of this node whose submissions have their final answer,
    /// if it is below the horizon and so of no more use.
    pub(in crate::round) fn forget_settled(&mut self, id: &ContributionId) {
        let round = self.history.ledger.contribution(id).map(|c| c.record.round);
        if round.is_some_and(|round| round <= self.history.horizon) {
            self.forget_contributions(vec![*id]);
        }
    }

    /// Releases the blobs of a checkpoint below the horizon, which is no base any more. Blobs that a newer checkpoint shares
    /// are kept.
    fn forget_content(&mut self, content: &Content, round: u64) {
        for (role, blob) in content.blobs() {
            let alone = self.history.tree.count_blob(role, blob) == 1 && blob != self.rules.spec.checkpoint0;
            let named = |n: &Node| n.content.blobs().any(|named| named == (role, blob));
            if alone || !self.history.tree.rounds_from(round + 1).any(named) {
                self.forget_blob(role, &blob);
            }
        }
    }

    /// Releases the blobs of a removed checkpoint that no other checkpoint has.
    pub(in crate::round) fn release(&mut self, content: &Content) {
        for (role, blob) in content.blobs() {
            if self.history.tree.count_blob(role, blob) == 0 {
                self.forget_blob(role, &blob);
            }
        }
    }

    fn forget_blob(&mut self, role: BlobRole, blob: &BlobId) {
        let mut results = self.fetching.jobs.results().flat_map(Content::blobs);
        if *blob != self.rules.spec.checkpoint0 && !results.any(|named| named == (role, *blob)) {
            self.fetching.blobs.known_mut(role).forget(blob);
        }
    }

    /// Forgets proofs that have done their work: the confirmed head has convicted the member, and no seal names the proof.
    fn forget_served_proofs(&mut self) {
        let confirmed = self.history.chain.at(self.history.confirmed_round());
        let Some(node) = confirmed.and_then(|id| self.history.tree.get(&id)) else {
            return;
        };
        let is_served =
            |(author, _): &(NodeId, ProofId)| node.convicted.contains(author) && *author != self.rules.config.node;
        // An open model may have convicted any number of nodes. Proofs against those whose
        // contributions are still held are looked at later.
        let served: Vec<_> = if self.rules.is_list {
            let all = self.history.proofs.proved.iter().map(|(author, id)| (*author, *id));
            all.filter(is_served).collect()
        } else {
            self.spare_proofs().filter(is_served).collect()
        };
        let served: Vec<ProofId> = served.into_iter().map(|(_, id)| id).collect();
        for id in served {
            if !self.history.proofs.named.contains_key(&id) {
                self.forget_proof(&id);
            }
        }
    }
}
