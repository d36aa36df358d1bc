//! Members that sign two contributions on one parent.

use std::collections::BTreeSet;

use crate::id::{ContributionId, NodeId, ProofId};
use crate::record::Proof;
use crate::round::machine::Machine;
use crate::round::table::node::Node;
use crate::round::table::orphans::Missing;
use crate::round::table::queued::Queued;
use crate::round::{Forgotten, Output, Persist};

/// Maximum number of proofs held in an open model against authors of whom no contribution is held, because strangers can make
/// any number of identities. A proof against an author of whom a contribution is held always stays, so there are no more of
/// these proofs than contributions.
const SPARE_MAX: usize = 1_024;

impl Machine {
    /// Makes a [`Proof`] from two held contributions by one author on one parent. Only one proof is made per author.
    pub(in crate::round) fn convict(&mut self, author: &NodeId, one: &ContributionId, two: &ContributionId) {
        if self.history.proofs.proved.contains_key(author) {
            return;
        }
        let (Some(one), Some(two)) = (
            self.history.ledger.contribution(one),
            self.history.ledger.contribution(two),
        ) else {
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

    /// Takes in a [`Proof`] from any node. The `node` crate has verified both signatures.
    pub(in crate::round) fn take_proof(&mut self, proof: &Proof) {
        let first = &proof.first.record;
        // Only the two signers can be at fault, and a broken proof does not identify them surely, so it is dropped.
        if proof.check().is_err() || first.spec != self.rules.spec_id || !self.rules.spec.admits(&first.author) {
            return;
        }
        let id = proof.id();
        self.hold_proof(id, proof);
    }

    /// Puts back a proof that the store holds.
    pub(in crate::round) fn restore_proof(&mut self, proof: Proof) {
        let id = proof.id();
        let lowest = self.history.proofs.proved.entry(proof.author()).or_insert(id);
        *lowest = (*lowest).min(id);
        self.history.ledger.add_proof(id, proof);
        self.history.proofs.loose.insert(id);
    }

    /// Keeps a proof that is the lowest of its author or that a seal names. Returns true if the proof is added.
    fn hold_proof(&mut self, id: ProofId, proof: &Proof) -> bool {
        let author = proof.author();
        if self.history.ledger.proof(&id).is_some() {
            return false;
        }
        let named = self.history.is_named_proof(&id);
        let held = self.history.proofs.proved.get(&author).copied();
        if !named {
            let lower = held.is_none_or(|held| id < held);
            if !lower || self.is_crowded_out(&id, &author) || self.history.head_convicted(&author) {
                return false;
            }
        }
        self.history.ledger.add_proof(id, proof.clone());
        self.out.persist(Persist::Proof(proof.clone()));
        if held.is_none() {
            self.out.act(Output::Equivocation { author, proof: id });
        }
        if held.is_none_or(|held| id < held) {
            self.history.proofs.proved.insert(author, id);
        }
        self.history.proofs.loose.insert(id);
        self.history.proofs.loose.extend(held);
        for orphan in self.history.orphans.seal_ids_for(Missing::Proof(id)) {
            if let Some(signed) = self.history.orphans.take_seal(&orphan) {
                self.intake.queue.push_back(Queued::Seal(signed));
            }
        }
        self.dirty.round = true;
        self.dirty.wants = true;
        true
    }

    /// Notes that a dropped checkpoint names its proofs no more.
    pub(in crate::round) fn unname_proofs(&mut self, node: &Node) {
        let Some(seal) = node.seals.first().and_then(|id| self.history.ledger.seal(id)) else {
            return;
        };
        let named = seal.record.proofs.clone();
        self.unname_list(&named);
    }

    /// Counts one seal less for each of these proofs. Returns the proofs that no seal names any more.
    pub(in crate::round) fn unname_list(&mut self, proofs: &[ProofId]) -> Vec<ProofId> {
        let mut unnamed = vec![];
        for proof in proofs {
            if let Some(count) = self.history.proofs.named.get_mut(proof) {
                *count -= 1;
                if *count == 0 {
                    self.history.proofs.named.remove(proof);
                    unnamed.push(*proof);
                }
            }
            self.history.proofs.loose.insert(*proof);
        }
        unnamed
    }

    /// Forgets proofs that no held seal and no orphan names and that are not the lowest of their authors. In an open model it
    /// also forgets proofs beyond [`SPARE_MAX`] against authors of whom nothing else is held.
    pub(in crate::round) fn forget_unused_proofs(&mut self) {
        self.history.proofs.loose.extend(self.history.orphans.take_released());
        // A proof in the own proposal stays until the proposal is sealed or dropped: else its author could make this node
        // compute the round again and again, with one lower proof after the other.
        let proposed = self.open.closing.as_ref().and_then(|closing| closing.proposal.as_ref());
        let proposed: BTreeSet<_> = proposed.into_iter().flat_map(|p| &p.proofs).copied().collect();
        let kept: BTreeSet<_> = self.history.proofs.loose.intersection(&proposed).copied().collect();
        self.history.proofs.loose.retain(|id| !proposed.contains(id));
        self.forget_loose_proofs();
        self.history.proofs.loose.extend(kept);
    }

    fn forget_loose_proofs(&mut self) {
        while let Some(id) = self.history.proofs.loose.pop_first() {
            let Some(author) = self.history.ledger.proof(&id).map(Proof::author) else {
                continue;
            };
            let named = self.history.is_named_proof(&id);
            if !named && self.history.proofs.proved.get(&author) != Some(&id) {
                self.forget_proof(&id);
            } else if self.rules.is_list || named || self.history.needs_proof(&self.rules, &author) {
                self.history.proofs.spare.remove(&id);
            } else {
                self.history.proofs.spare.insert(id);
            }
        }
        while self.history.proofs.spare.len() > SPARE_MAX {
            let Some(id) = self.history.proofs.spare.pop_last() else {
                return;
            };
            if !self.history.is_named_proof(&id) {
                self.forget_proof(&id);
            }
        }
    }

    /// Returns true if a proof that no record names would be dropped at once.
    fn is_crowded_out(&self, id: &ProofId, author: &NodeId) -> bool {
        let crowded = self.history.proofs.spare.len() >= SPARE_MAX
            && self.history.proofs.spare.last().is_some_and(|last| last < id);
        crowded && !self.history.needs_proof(&self.rules, author)
    }

    /// The proofs against authors of an open model of whom nothing else is held.
    pub(in crate::round) fn spare_proofs(&self) -> impl Iterator<Item = (NodeId, ProofId)> {
        let held = self.history.proofs.spare.iter();
        held.filter_map(|id| Some((self.history.ledger.proof(id)?.author(), *id)))
    }

    /// Forgets a proof, in memory and with [`Persist::Forget`] in the store.
    pub(in crate::round) fn forget_proof(&mut self, id: &ProofId) {
        if self.drop_proof(id) {
            self.out.persist(Persist::Forget(Forgotten {
                proofs: vec![*id],
                ..Forgotten::default()
            }));
        }
    }

    /// Takes a proof out of memory. If it was the lowest of its author, the next lowest counts, if
    /// one is held. Returns true if the proof was held.
    pub(in crate::round) fn drop_proof(&mut self, id: &ProofId) -> bool {
        self.history.proofs.spare.remove(id);
        let Some(proof) = self.history.ledger.remove_proof(id) else {
            return false;
        };
        let author = proof.author();
        if self.history.proofs.proved.get(&author) == Some(id) {
            self.history.proofs.proved.remove(&author);
            let next = self.history.ledger.lowest_proof(&author);
            self.history.proofs.proved.extend(next.map(|next| (author, next)));
        }
        true
    }
}
