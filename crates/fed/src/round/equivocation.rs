//! Members that sign two contributions on one parent.

use std::collections::BTreeSet;

use super::condition::Convicted;
use super::machine::Machine;
use super::tree::Node;
use super::{Forgotten, Output, Persist};
use crate::id::{CheckpointId, ContributionId, NodeId, ProofId};
use crate::record::{PROOFS_PER_SEAL_MAX, Proof};

/// Proofs held in an open model against authors of whom no contribution is held: strangers can make any number of identities. A proof
/// against one of whom a contribution is held always stays, so there are no more of those than of contributions.
const SPARE_MAX: usize = 1_024;

/// Which held proofs are of use.
#[derive(Debug, Default)]
pub(super) struct ProofUse {
    /// Those that may be of no more use, or of use again.
    pub loose: BTreeSet<ProofId>,
    /// Those against authors of an open model of whom nothing else is held.
    spare: BTreeSet<ProofId>,
}

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
        self.proof_use.loose.insert(id);
    }

    /// Keeps a proof: the lowest an author, and those that seals name. Says whether it is kept now.
    fn hold_proof(&mut self, id: ProofId, proof: &Proof) -> bool {
        let author = proof.author();
        if self.ledger.proof(&id).is_some() {
            return false;
        }
        let named = self.is_named_proof(&id);
        let held = self.proved.get(&author).copied();
        if !named {
            let lower = held.is_none_or(|held| id < held);
            if !lower || self.is_crowded_out(&id, &author) || self.head_convicted(&author) {
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
        self.proof_use.loose.insert(id);
        self.proof_use.loose.extend(held);
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
            self.proof_use.loose.insert(*proof);
        }
        unnamed
    }

    /// Forgets proofs that no held seal names, that no orphan names and that are not the lowest of their authors, and in an open model
    /// those that are too many against authors of whom nothing is held.
    pub(super) fn forget_unused_proofs(&mut self) {
        self.proof_use.loose.extend(self.orphans.take_released());
        while let Some(id) = self.proof_use.loose.pop_first() {
            let Some(author) = self.ledger.proof(&id).map(Proof::author) else {
                continue;
            };
            let named = self.is_named_proof(&id);
            if !named && self.proved.get(&author) != Some(&id) {
                self.forget_proof(&id);
            } else if self.is_list || named || self.needs_proof(&author) {
                self.proof_use.spare.remove(&id);
            } else {
                self.proof_use.spare.insert(id);
            }
        }
        while self.proof_use.spare.len() > SPARE_MAX {
            let Some(id) = self.proof_use.spare.pop_last() else {
                return;
            };
            if !self.is_named_proof(&id) {
                self.forget_proof(&id);
            }
        }
    }

    fn is_named_proof(&self, id: &ProofId) -> bool {
        self.named_proofs.contains_key(id) || self.orphans.names_proof(id)
    }

    /// Whether a proof decides here whose work counts: one against a node of which a contribution is held, or against this node.
    fn needs_proof(&self, author: &NodeId) -> bool {
        self.ballots.has(author) || *author == self.config.node
    }

    /// Whether a proof that nothing names would be dropped at once.
    fn is_crowded_out(&self, id: &ProofId, author: &NodeId) -> bool {
        let crowded =
            self.proof_use.spare.len() >= SPARE_MAX && self.proof_use.spare.last().is_some_and(|last| last < id);
        crowded && !self.needs_proof(author)
    }

    /// The proofs against authors of an open model of whom nothing else is held.
    pub(super) fn spare_proofs(&self) -> impl Iterator<Item = (NodeId, ProofId)> {
        let held = self.proof_use.spare.iter();
        held.filter_map(|id| Some((self.ledger.proof(id)?.author(), *id)))
    }

    /// Forgets a proof.
    pub(super) fn forget_proof(&mut self, id: &ProofId) {
        if self.drop_proof(id) {
            self.out.persist(Persist::Forget(Forgotten {
                proofs: vec![*id],
                ..Forgotten::default()
            }));
        }
    }

    /// Takes a proof out of memory. Where it was the lowest of its author, the next one counts, if one is held. Says whether it was held.
    pub(super) fn drop_proof(&mut self, id: &ProofId) -> bool {
        self.proof_use.spare.remove(id);
        let Some(proof) = self.ledger.remove_proof(id) else {
            return false;
        };
        let author = proof.author();
        if self.proved.get(&author) == Some(id) {
            self.proved.remove(&author);
            let next = self.ledger.lowest_proof(&author);
            self.proved.extend(next.map(|next| (author, next)));
        }
        true
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

    /// Proofs for the next seal: one for each author that the head's branch has not convicted, ascending. In an open model only of those
    /// whose work might count: a conviction is kept by everyone for ever, and identities by the thousand are not worth it.
    pub(super) fn proofs_to_carry(&self) -> Vec<ProofId> {
        let authors: Vec<_> = if self.is_list {
            self.proved.keys().collect()
        } else {
            self.ballots.all_authors().collect()
        };
        let open = authors.into_iter().filter(|author| !self.head_convicted(author));
        let proofs = open.filter_map(|author| self.proved.get(author).copied());
        let mut proofs: Vec<_> = proofs.take(PROOFS_PER_SEAL_MAX).collect();
        proofs.sort_unstable();
        proofs
    }
}
