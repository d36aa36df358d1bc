//! Seals: the signed statement that closes a round.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical, Checkpoint, Content};
use crate::id::{CheckpointId, ContributionId, NodeId, ProofId, SealId, SpecId};

/// Largest number of equivocation proofs in one seal; the others wait for the next seal.
pub const PROOFS_PER_SEAL_MAX: usize = 64;

/// A statement that closes a round. It names the aggregated contributions, their parent and the result, and the sealer
/// signs it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seal {
    /// The spec of the model.
    pub spec: SpecId,
    /// The parent's round plus one.
    pub round: u64,
    /// The checkpoint that the fresh contributions build on.
    pub parent: CheckpointId,
    /// Ids of the contributions on `parent`, ascending.
    pub fresh: Vec<ContributionId>,
    /// Ids of the contributions on older checkpoints, ascending. The aggregation discounts them by
    /// [`late_discount`](crate::strategy::late_discount).
    pub late: Vec<ContributionId>,
    /// Ids of the proofs of equivocation that take effect from this seal on, ascending.
    pub proofs: Vec<ProofId>,
    /// The blobs that the aggregation made.
    pub result: Content,
    /// The node that made and signed the seal.
    pub sealer: NodeId,
}

impl Canonical for Seal {
    const TAG: &'static str = "qres/seal/2\n";
}

impl Authored for Seal {
    fn author(&self) -> NodeId {
        self.sealer
    }
}

impl Seal {
    /// Returns the [`SealId`]: the BLAKE3 of the canonical bytes, which name the sealer.
    pub fn id(&self) -> SealId {
        SealId::of(&self.to_canonical())
    }

    /// Returns the [`Checkpoint`] that this seal makes: all its fields except the sealer.
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
