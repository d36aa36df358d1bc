//! Proofs of equivocation: evidence that a node signed two different contributions on one parent.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Canonical, Contribution, Signed};
use crate::id::{CheckpointId, NodeId, ProofId};

/// Reason why two contributions prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The contributions are by two nodes, on two parents, or for two specs.
    #[error("the two contributions differ in author, parent or spec, so they prove nothing")]
    Unrelated,
    /// The two are one and the same contribution, or the one with the higher id comes first.
    #[error("the two contributions must differ, the one with the lower id first")]
    Order,
}

/// Proof of equivocation: two different contributions by one node on one parent, the one with the lower id first.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proof {
    /// The contribution with the lower id.
    pub first: Signed<Contribution>,
    /// The contribution with the higher id.
    pub second: Signed<Contribution>,
}

impl Canonical for Proof {
    const TAG: &'static str = "qres/proof/1\n";
}

impl Proof {
    /// Makes a proof from two contributions in either order.
    pub fn new(a: Signed<Contribution>, b: Signed<Contribution>) -> Result<Self, ProofError> {
        let (first, second) = if a.record.id() < b.record.id() { (a, b) } else { (b, a) };
        let proof = Self { first, second };
        proof.check().map(|()| proof)
    }

    /// Checks that the two contributions prove an equivocation. The crate `node` verifies their signatures.
    pub fn check(&self) -> Result<(), ProofError> {
        let (a, b) = (&self.first.record, &self.second.record);
        if (a.spec, a.parent, a.author) != (b.spec, b.parent, b.author) {
            return Err(ProofError::Unrelated);
        }
        if a.id() < b.id() {
            Ok(())
        } else {
            Err(ProofError::Order)
        }
    }

    /// Returns the BLAKE3 of the tag and of the two contributions' ids. Signatures are left out: a contribution that is
    /// signed again makes no second proof.
    pub fn id(&self) -> ProofId {
        let mut bytes = Self::TAG.as_bytes().to_vec();
        bytes.extend(self.first.record.id().0);
        bytes.extend(self.second.record.id().0);
        ProofId::of(&bytes)
    }

    /// Returns the node that the proof convicts.
    pub fn author(&self) -> NodeId {
        self.first.record.author
    }

    /// Returns the parent of both contributions.
    pub fn parent(&self) -> CheckpointId {
        self.first.record.parent
    }
}
