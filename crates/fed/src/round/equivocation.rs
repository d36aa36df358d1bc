//! Members that sign two contributions on one parent.

use super::condition::Convicted;
use super::machine::Machine;
use super::tree::Node;
use super::{Forgotten, Output, Persist};
use crate::id::{CheckpointId, ContributionId, NodeId, ProofId};
use crate::record::{PROOFS_PER_SEAL_MAX, Proof};

/// Authors with a proof that no seal names, in an open model: strangers can make any number of identities.
const UNNAMED_MAX: usize = 1_024;

impl Machine {
    /// Two contributions by one author on one parent are held: that is proof. One proof an author is enough.
    pub(super) fn convict(&mut self, author: &NodeId, one: &ContributionId, two: &ContributionId) {
        if self.proved.contains_key(author) {
            return;
        }
        let (Some(one), Some(two)) = (self.ledger.contribution(one), self.ledger.contribution(two)) else {
            return;
        };
        // The ids differ and author, parent and spec are equal, so this is a proof.
        if let Ok(proof) = Proof::new(one.clone(), two.clone()) {
            let id = proof.id();
            if self.hold_proof(id, &proof) {
                self.out.act(Output::SendProof(proof));
            }
        }
    }

    /// Takes in anyone's proof; `node` has verified both signatures.
    pub(super) fn take_proof(&mut self, proof: &Proof) {
        let first = &proof.first.record;
        // Only the two that signed can be at fault, and a broken proof names neither surely: it is dropped.
        if proof.check().is_err() || first.spec != self.spec_id || !self.spec.admits(&first.author) {
            return;
        }
        let id = proof.id();
        self.hold_proof(id, proof);
    }

    /// Puts back a proof that the store holds.
    pub(super) fn restore_proof(&mut self, proof: Proof) {
        let id = proof.id();
        let lowest = self.proved.entry(proof.author()).or_insert(id);
        *lowest = (*lowest).min(id);
        self.ledger.add_proof(id, proof);
    }

    /// Keeps a proof: the lowest an author, and those that seals name. Says whether it is kept now.
    fn hold_proof(&mut self, id: ProofId, proof: &Proof) -> bool {
        let author = proof.author();
        if self.ledger.proof(&id).is_some() {
            return false;
        }
        let named = self.named_proofs.contains_key(&id) || self.orphans.names_proof(&id);
        let held = self.proved.get(&author).copied();
        if !named {
            let lower = held.is_none_or(|held| id < held);
            let crowded = !self.is_list && held.is_none() && self.proved.len() >= UNNAMED_MAX;
            if !lower || crowded || self.head_convicted(&author) {
                return false;
            }
        }
        self.ledger.add_proof(id, proof.clone());
        self.out.persist(Persist::Proof(proof.clone()));
        if held.is_none() {
            self.out.act(Output::Equivocation { author, proof: id });
        }
        if held.is_none_or(|held| id < held) {
            self.proved.insert(author, id);
        }
        self.proofs_dirty = true;
        for orphan in self.orphans.seal_ids_for(super::orphans::Missing::Proof(id)) {
            if let Some(signed) = self.orphans.take_seal(&orphan) {
                self.queue.push_back(super::machine::Queued::Seal(signed));
            }
        }
        self.round_dirty = true;
        self.wants_dirty = true;
        true
    }

    /// The checkpoint is gone, and names its proofs no more.
    pub(super) fn unname_proofs(&mut self, node: &Node) {
        let Some(seal) = node.seals.first().and_then(|id| self.ledger.seal(id)) else {
            return;
        };
        let named = seal.record.proofs.clone();
        self.unname_list(&named);
    }

    /// One seal less names these proofs. Says which none names any more.
    pub(super) fn unname_list(&mut self, proofs: &[ProofId]) -> Vec<ProofId> {
        let mut unnamed = vec![];
        for proof in proofs {
            if let Some(count) = self.named_proofs.get_mut(proof) {
                *count -= 1;
                if *count == 0 {
                    self.named_proofs.remove(proof);
                    unnamed.push(*proof);
                }
            }
            self.proofs_dirty = true;
        }
        unnamed
    }

    /// Forgets proofs that no held seal names, that no orphan names and that are not the lowest of their authors.
    pub(super) fn forget_unused_proofs(&mut self) {
        if !std::mem::take(&mut self.proofs_dirty) {
            return;
        }
        let unused = |(id, proof): &(&ProofId, &Proof)| {
            !self.named_proofs.contains_key(id)
                && !self.orphans.names_proof(id)
                && self.proved.get(&proof.author()) != Some(id)
        };
        let unused: Vec<_> = self.ledger.proofs().filter(unused).map(|(id, _)| *id).collect();
        for id in unused {
            self.forget_proof(&id);
        }
    }

    pub(super) fn forget_proof(&mut self, id: &ProofId) {
        if self.ledger.remove_proof(id).is_some() {
            self.out.persist(Persist::Forget(Forgotten {
                proofs: vec![*id],
                ..Forgotten::default()
            }));
        }
    }

    fn head_convicted(&self, author: &NodeId) -> bool {
        let head: CheckpointId = self.chain.head();
        self.tree.get(&head).is_some_and(|node| node.convicted.contains(author))
    }

    /// Whether this node's own seals leave an author out: convicted on the head's branch, or proven to be so soon.
    pub(super) fn is_excluded(&self, author: &NodeId) -> bool {
        self.proved.contains_key(author) || self.head_convicted(author)
    }

    /// Whether this node is convicted.
    pub(super) fn own_conviction(&self) -> Option<Convicted> {
        let own = self.config.node;
        let proof = self.proved.get(&own).copied();
        self.is_excluded(&own).then_some(Convicted { proof })
    }

    /// Proofs for the next seal: one for each author that the head's branch has not convicted, ascending.
    pub(super) fn proofs_to_carry(&self) -> Vec<ProofId> {
        let open = self.proved.iter().filter(|(author, _)| !self.head_convicted(author));
        let mut proofs: Vec<_> = open.map(|(_, id)| *id).take(PROOFS_PER_SEAL_MAX).collect();
        proofs.sort_unstable();
        proofs
    }
}
