//! The statement that closes a round.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical, Checkpoint};
use crate::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId, SealId, SpecId};

/// Equivocation proofs one seal may carry; the rest wait for the next.
pub const PROOFS_PER_SEAL_MAX: usize = 64;

/// Closes a round: what was aggregated, on which parent, with which result. Signed by whoever sealed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seal {
    /// The spec it is for.
    pub spec: SpecId,
    /// The parent's round plus one.
    pub round: u64,
    /// The checkpoint that the fresh contributions are on.
    pub parent: CheckpointId,
    /// Contributions on `parent`, ascending.
    pub fresh: Vec<ContributionId>,
    /// Contributions on older checkpoints, ascending; applied with a discount.
    pub late: Vec<ContributionId>,
    /// Proofs of equivocation that take effect from here on, ascending.
    pub proofs: Vec<ProofId>,
    /// The aggregated weights, a canonical safetensors blob.
    pub result: BlobId,
    /// Who says so.
    pub sealer: NodeId,
}

impl Canonical for Seal {
    const TAG: &'static str = "qres/seal/1\n";
}

impl Authored for Seal {
    fn author(&self) -> NodeId {
        self.sealer
    }
}

impl Seal {
    /// BLAKE3 of the canonical bytes, the sealer included.
    pub fn id(&self) -> SealId {
        SealId::of(&self.to_canonical())
    }

    /// The checkpoint this seal makes: everything but the sealer.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            spec: self.spec,
            round: self.round,
            parent: Some(self.parent),
            fresh: self.fresh.clone(),
            late: self.late.clone(),
            proofs: self.proofs.clone(),
            result: self.result,
        }
    }
}
