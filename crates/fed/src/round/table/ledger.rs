//! The records held, by id and by round.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{ConsentId, ContributionId, NodeId, ProofId, SealId};
use crate::record::{Contribution, Proof, Seal, Signed};
use crate::round::RecordId;

/// All records that are held for good (until the horizon passes them). They are durable and spread by sync.
#[derive(Debug, Default)]
pub(in crate::round) struct Ledger {
    contributions: BTreeMap<ContributionId, Signed<Contribution>>,
    seals: BTreeMap<SealId, Signed<Seal>>,
    proofs: BTreeMap<ProofId, Proof>,
    proofs_by: BTreeSet<(NodeId, ProofId)>,
    index: BTreeSet<(u64, RecordId)>,
}

/// The round under which a [`Proof`] is filed: the round that its first contribution declares.
fn proof_round(proof: &Proof) -> u64 {
    proof.first.record.round
}

impl Ledger {
    pub fn contribution(&self, id: &ContributionId) -> Option<&Signed<Contribution>> {
        self.contributions.get(id)
    }

    pub fn seal(&self, id: &SealId) -> Option<&Signed<Seal>> {
        self.seals.get(id)
    }

    pub fn proof(&self, id: &ProofId) -> Option<&Proof> {
        self.proofs.get(id)
    }

    /// The lowest proof against an author.
    pub fn lowest_proof(&self, author: &NodeId) -> Option<ProofId> {
        let of_author = (*author, ProofId([0; 32]))..=(*author, ProofId([0xff; 32]));
        self.proofs_by.range(of_author).next().map(|(_, id)| *id)
    }

    /// The authors against whom a proof is held, once for each proof.
    pub fn accused(&self) -> impl Iterator<Item = NodeId> {
        self.proofs_by.iter().map(|(author, _)| *author)
    }

    pub fn index(&self) -> &BTreeSet<(u64, RecordId)> {
        &self.index
    }

    /// Contributions that declare a round of `first..=last`, ascending by round and id.
    pub fn contributions_of(
        &self,
        first: u64,
        last: u64,
    ) -> impl Iterator<Item = (ContributionId, &Signed<Contribution>)> {
        let low = (first, RecordId::Contribution(ContributionId([0; 32])));
        let high = (last, RecordId::Proof(ProofId([0xff; 32])));
        let range = (first <= last).then(|| self.index.range(low..=high));
        range.into_iter().flatten().filter_map(|(_, id)| match id {
            RecordId::Contribution(id) => self.contributions.get(id).map(|c| (*id, c)),
            RecordId::Seal(_) | RecordId::Proof(_) | RecordId::Consent(_) => None,
        })
    }

    pub fn add_contribution(&mut self, id: ContributionId, signed: Signed<Contribution>) {
        self.index.insert((signed.record.round, RecordId::Contribution(id)));
        self.contributions.insert(id, signed);
    }

    pub fn add_seal(&mut self, id: SealId, signed: Signed<Seal>) {
        self.index.insert((signed.record.round, RecordId::Seal(id)));
        self.seals.insert(id, signed);
    }

    pub fn add_proof(&mut self, id: ProofId, proof: Proof) {
        self.index.insert((proof_round(&proof), RecordId::Proof(id)));
        self.proofs_by.insert((proof.author(), id));
        self.proofs.insert(id, proof);
    }

    /// Names a consent in the index. Consents belong to no round, so they are filed under round 0.
    pub fn index_consent(&mut self, id: ConsentId) {
        self.index.insert((0, RecordId::Consent(id)));
    }

    /// Takes a consent out of the index.
    pub fn unindex_consent(&mut self, id: &ConsentId) {
        self.index.remove(&(0, RecordId::Consent(*id)));
    }

    pub fn remove_contribution(&mut self, id: &ContributionId) -> Option<Signed<Contribution>> {
        let signed = self.contributions.remove(id)?;
        self.index.remove(&(signed.record.round, RecordId::Contribution(*id)));
        Some(signed)
    }

    pub fn remove_seal(&mut self, id: &SealId) -> Option<Signed<Seal>> {
        let signed = self.seals.remove(id)?;
        self.index.remove(&(signed.record.round, RecordId::Seal(*id)));
        Some(signed)
    }

    pub fn remove_proof(&mut self, id: &ProofId) -> Option<Proof> {
        let proof = self.proofs.remove(id)?;
        self.index.remove(&(proof_round(&proof), RecordId::Proof(*id)));
        self.proofs_by.remove(&(proof.author(), *id));
        Some(proof)
    }

    /// Invariant: the index names exactly the records that are held, and the proofs are filed by their authors.
    pub fn invariant_index_names_what_is_held(&self) -> Result<(), String> {
        let consents = self.index.iter().filter(|(_, id)| matches!(id, RecordId::Consent(_)));
        let held = self.contributions.len() + self.seals.len() + self.proofs.len() + consents.count();
        let known = |(_, id): &&(u64, RecordId)| match id {
            RecordId::Consent(_) => true,
            RecordId::Contribution(id) => self.contributions.contains_key(id),
            RecordId::Seal(id) => self.seals.contains_key(id),
            RecordId::Proof(id) => self.proofs.contains_key(id),
        };
        if self.index.len() != held || !self.index.iter().all(|entry| known(&entry)) {
            return Err(format!("{held} records are held, the index has {}", self.index.len()));
        }
        let filed = self.proofs_by.iter().filter(|(_, id)| self.proofs.contains_key(id));
        if self.proofs_by.len() != self.proofs.len() || filed.count() != self.proofs.len() {
            return Err("the proofs by author are not the proofs".into());
        }
        Ok(())
    }

    /// Number of seals.
    pub fn count_seals(&self) -> usize {
        self.seals.len()
    }
}
