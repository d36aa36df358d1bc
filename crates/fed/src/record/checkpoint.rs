//! Checkpoints: aggregated weights and their place in a model's history.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Canonical;
use crate::id::{BlobId, CheckpointId, ContributionId, ProofId, ProposalId, SpecId};

/// The blobs of a checkpoint: what an aggregation makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Content {
    /// The weights, a canonical safetensors blob.
    pub weights: BlobId,
    /// The state of the server optimiser, a canonical safetensors blob of its [`state_schema`](crate::strategy::state_schema).
    /// `None` if the strategy has no such state, and in checkpoint 0, where the state is the optimiser's first one.
    pub optimiser: Option<BlobId>,
}

impl Content {
    /// Makes the content of a checkpoint without an optimiser's state.
    pub fn of_weights(weights: BlobId) -> Self {
        Self {
            weights,
            optimiser: None,
        }
    }

    /// Returns the blobs, each with its role.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobRole, BlobId)> {
        let optimiser = self.optimiser.map(|blob| (BlobRole::Optimiser, blob));
        std::iter::once((BlobRole::Weights, self.weights)).chain(optimiser)
    }
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.optimiser {
            None => write!(f, "{}", self.weights),
            Some(state) => write!(f, "{} (optimiser {state})", self.weights),
        }
    }
}

/// What a blob is in a model. One blob may be named in several roles; a check in one says nothing about the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlobRole {
    /// A contribution's coded update.
    Update,
    /// A checkpoint's weights.
    Weights,
    /// The state of a checkpoint's server optimiser.
    Optimiser,
}

/// The inputs of an aggregation: a [`Checkpoint`] whose result is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Proposal {
    /// The spec of the model.
    pub spec: SpecId,
    /// The parent's round plus one.
    pub round: u64,
    /// The checkpoint that the fresh contributions build on.
    pub parent: CheckpointId,
    /// Ids of the contributions on the parent, ascending.
    pub fresh: Vec<ContributionId>,
    /// Ids of the contributions on older checkpoints, ascending.
    pub late: Vec<ContributionId>,
    /// Ids of the proofs of equivocation, ascending.
    pub proofs: Vec<ProofId>,
}

impl Canonical for Proposal {
    const TAG: &'static str = "qres/proposal/1\n";
}

impl Proposal {
    /// Returns the BLAKE3 of the canonical bytes. The id is local bookkeeping; no message carries it.
    pub fn id(&self) -> ProposalId {
        ProposalId::of(&self.to_canonical())
    }

    /// Returns the [`Checkpoint`] that the proposal makes with this result.
    pub fn checkpoint(self, result: Content) -> Checkpoint {
        Checkpoint {
            spec: self.spec,
            round: self.round,
            parent: Some(self.parent),
            fresh: self.fresh,
            late: self.late,
            proofs: self.proofs,
            result,
        }
    }
}

/// A checkpoint of a model. Its id is a hash that covers its whole ancestry, so a model's history is a chain that any node
/// can recompute.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// The spec that the checkpoint belongs to.
    pub spec: SpecId,
    /// The round: 0 for the first checkpoint, then one more than the parent's.
    pub round: u64,
    /// The checkpoint that this one builds on; `None` for checkpoint 0 only.
    pub parent: Option<CheckpointId>,
    /// Ids of the contributions on the parent, ascending.
    pub fresh: Vec<ContributionId>,
    /// Ids of the contributions on older checkpoints, ascending.
    pub late: Vec<ContributionId>,
    /// Ids of the proofs of equivocation, ascending.
    pub proofs: Vec<ProofId>,
    /// The blobs that the aggregation made.
    pub result: Content,
}

impl Canonical for Checkpoint {
    const TAG: &'static str = "qres/checkpoint/2\n";
}

impl Checkpoint {
    /// Makes the model's first checkpoint, number 0, with the [`BlobId`] of its weights.
    pub fn zero(spec: SpecId, weights: BlobId) -> Self {
        Self {
            spec,
            round: 0,
            parent: None,
            fresh: vec![],
            late: vec![],
            proofs: vec![],
            result: Content::of_weights(weights),
        }
    }

    /// Returns the [`CheckpointId`]: the BLAKE3 of the canonical bytes.
    pub fn id(&self) -> CheckpointId {
        CheckpointId::of(&self.to_canonical())
    }
}
