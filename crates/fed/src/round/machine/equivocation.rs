//! Members that sign two contributions on one parent.

use crate::id::{CheckpointId, ContributionId, NodeId, ProofId};
use crate::record::{PROOFS_PER_SEAL_MAX, Proof};
use crate::round::machine::Machine;
use crate::round::table::node::Node;
use crate::round::table::orphans::Missing;
use crate::round::table::queued::Queued;
use crate::round::{Convicted, Forgotten, Output, Persist};

/// Maximum number of proofs held in an open model against authors of whom no contribution is held, because strangers can make
/// any number of identities. A proof against an author of whom a contribution is held always stays, so there are no more of
/// these proofs than contributions.
const SPARE_MAX: usize = 1_024;

impl Machine {
    /// Makes a [`Proof`] from two held contributions by one author on one parent. Only one proof is made per author.
    pub(in crate::round) fn convict(&mut self, author: &NodeId, one: &ContributionId, two: &ContributionId) {
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

    /// Takes in a [`Proof`] from any node. The `node` crate has verified both signatures.
    pub(in crate::round) fn take_proof(&mut self, proof: &Proof) {
        let first = &proof.first.record;
        // Only the two signers can be at fault, and a broken proof does not identify them surely, so it is dropped.
        if proof.check().is_err() || first.spec != self.spec_id || !self.spec.admits(&first.author) {
            return;
        }
        let id = proof.id();
        self.hold_proof(id, proof);
    }

    /// Puts back a proof that the store holds.
    pub(in crate::round) fn restore_proof(&mut self, proof: Proof) {
        let id = proof.id();
        let lowest = self.proved.entry(proof.author()).or_insert(id);
        *lowest = (*lowest).min(id);
        self.ledger.add_proof(id, proof);
        self.proof_use.loose.insert(id);
    }

    /// Keeps a proof that is the lowest of its author or that a seal names. Returns true if the proof is added.
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
        for orphan in self.orphans.seal_ids_for(Missing::Proof(id)) {
            if let Some(signed) = self.orphans.take_seal(&orphan) {
                self.queue.push_back(Queued::Seal(signed));
            }
        }
        self.round_dirty = true;
        self.wants_dirty = true;
        true
    }

    /// Notes that a dropped checkpoint names its proofs no more.
    pub(in crate::round) fn unname_proofs(&mut self, node: &Node) {
        let Some(seal) = node.seals.first().and_then(|id| self.ledger.seal(id)) else {
            return;
        };
        let named = seal.record.proofs.clone();
        self.unname_list(&named);
    }

    /// Counts one seal less for each of these proofs. Returns the proofs that no seal names any more.
    pub(in crate::round) fn unname_list(&mut self, proofs: &[ProofId]) -> Vec<ProofId> {
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

    /// Forgets proofs that no held seal and no orphan names and that are not the lowest of their authors. In an open model it
    /// also forgets proofs beyond [`SPARE_MAX`] against authors of whom nothing else is held.
    pub(in crate::round) fn forget_unused_proofs(&mut self) {
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

    /// Returns true if a proof against `author` decides whose work counts: a contribution
    /// of `author` is held, or `author` is this node.
    fn needs_proof(&self, author: &NodeId) -> bool {
        self.ballots.has(author) || *author == self.config.node
    }

    /// Returns true if a proof that no record names would be dropped at once.
    fn is_crowded_out(&self, id: &ProofId, author: &NodeId) -> bool {
        let crowded =
            self.proof_use.spare.len() >= SPARE_MAX && self.proof_use.spare.last().is_some_and(|last| last < id);
        crowded && !self.needs_proof(author)
    }

    /// The proofs against authors of an open model of whom nothing else is held.
    pub(in crate::round) fn spare_proofs(&self) -> impl Iterator<Item = (NodeId, ProofId)> {
        let held = self.proof_use.spare.iter();
        held.filter_map(|id| Some((self.ledger.proof(id)?.author(), *id)))
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

    /// Returns true if this node's own seals leave an author out: the author is convicted on the head's
    /// branch, or will be soon because a proof is held.
    pub(in crate::round) fn is_excluded(&self, author: &NodeId) -> bool {
        self.proved.contains_key(author) || self.head_convicted(author)
    }

    /// Returns the conviction of this node as [`Convicted`], if there is one.
    pub(in crate::round) fn own_conviction(&self) -> Option<Convicted> {
        let own = self.config.node;
        let proof = self.proved.get(&own).copied();
        self.is_excluded(&own).then_some(Convicted { proof })
    }

    /// Proofs for the next seal, ascending: one for each author that the head's branch has not convicted. In an open model only
    /// authors of held contributions matter, because their work might count. Every node keeps a conviction for ever, and
    /// thousands of identities are not worth it.
    pub(in crate::round) fn proofs_to_carry(&self) -> Vec<ProofId> {
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
