//! Aggregated weights and their place in a model's history.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Canonical;
use crate::id::{BlobId, CheckpointId, ContributionId, ProofId, ProposalId, SpecId};

/// What is, or would be, aggregated: a checkpoint before its result is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The spec it is for.
    pub spec: SpecId,
    /// The parent's round plus one.
    pub round: u64,
    /// What the fresh contributions are on.
    pub parent: CheckpointId,
    /// Ascending.
    pub fresh: Vec<ContributionId>,
    /// Ascending.
    pub late: Vec<ContributionId>,
    /// Ascending.
    pub proofs: Vec<ProofId>,
}

impl Canonical for Proposal {
    const TAG: &'static str = "qres/proposal/1\n";
}

impl Proposal {
    /// BLAKE3 of the canonical bytes: local bookkeeping, it never travels.
    pub fn id(&self) -> ProposalId {
        ProposalId::of(&self.to_canonical())
    }
}

/// One checkpoint. Its id is a hash over its whole ancestry: a model's history is a chain anyone can recompute.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// The spec it belongs to.
    pub spec: SpecId,
    /// 0 for the first, then one more than the parent's.
    pub round: u64,
    /// `None` for checkpoint 0 only.
    pub parent: Option<CheckpointId>,
    /// Contributions on the parent, ascending.
    pub fresh: Vec<ContributionId>,
    /// Contributions on older checkpoints, ascending.
    pub late: Vec<ContributionId>,
    /// Proofs of equivocation, ascending.
    pub proofs: Vec<ProofId>,
    /// The weights, a canonical safetensors blob.
    pub result: BlobId,
}

impl Canonical for Checkpoint {
    const TAG: &'static str = "qres/checkpoint/1\n";
}

impl Checkpoint {
    /// The model's first checkpoint.
    pub fn zero(spec: SpecId, weights: BlobId) -> Self {
        Self {
            spec,
            round: 0,
            parent: None,
            fresh: vec![],
            late: vec![],
            proofs: vec![],
            result: weights,
        }
    }

    /// BLAKE3 of the canonical bytes.
    pub fn id(&self) -> CheckpointId {
        CheckpointId::of(&self.to_canonical())
    }
}
