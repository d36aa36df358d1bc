//! Evidence that a node signed two different contributions on one parent.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Canonical, Contribution, Signed};
use crate::id::{CheckpointId, NodeId, ProofId};

/// Why two contributions prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// They are by two nodes, on two parents, or for two specs.
    #[error("the two contributions differ in author, parent or spec, so they prove nothing")]
    Unrelated,
    /// They are one contribution, or listed the wrong way round.
    #[error("the two contributions must differ, the one with the lower id first")]
    Order,
}

/// Two different contributions by one node on one parent, the one with the lower id first.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proof {
    /// The one with the lower id.
    pub first: Signed<Contribution>,
    /// The one with the higher id.
    pub second: Signed<Contribution>,
}

impl Canonical for Proof {
    const TAG: &'static str = "qres/proof/1\n";
}

impl Proof {
    /// A proof from two contributions in either order.
    pub fn new(a: Signed<Contribution>, b: Signed<Contribution>) -> Result<Self, ProofError> {
        let (first, second) = if a.record.id() < b.record.id() { (a, b) } else { (b, a) };
        let proof = Self { first, second };
        proof.check().map(|()| proof)
    }

    /// Whether it proves what it says; the signatures are `node`'s to verify.
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

    /// BLAKE3 of the contributions' ids. Signatures are left out: a re-signed contribution makes no second proof.
    pub fn id(&self) -> ProofId {
        let mut bytes = Self::TAG.as_bytes().to_vec();
        bytes.extend(self.first.record.id().0);
        bytes.extend(self.second.record.id().0);
        ProofId::of(&bytes)
    }

    /// Who is convicted.
    pub fn author(&self) -> NodeId {
        self.first.record.author
    }

    /// The parent on which it happened.
    pub fn parent(&self) -> CheckpointId {
        self.first.record.parent
    }
}
