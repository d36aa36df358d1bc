//! Contributions: a node's update on one parent checkpoint.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical, Report};
use crate::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId};

/// The update of one node on one parent checkpoint, merged from its trainers' submissions.
///
/// A node signs at most one contribution for each parent. Two different ones are a [`super::Proof`] of equivocation.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Contribution {
    /// The spec of the model.
    pub spec: SpecId,
    /// The checkpoint that the update is a difference against.
    pub parent: CheckpointId,
    /// The round of the contribution: the parent's round plus one.
    pub round: u64,
    /// The node that made and signed the contribution.
    pub author: NodeId,
    /// Training samples of the update, 1 to [`SAMPLES_MAX`](super::SAMPLES_MAX): the contribution's weight in the aggregation.
    pub samples: u64,
    /// The coded update (the spec's codec applied to the spec's schema).
    pub update: BlobId,
    /// Length of that blob, in bytes.
    pub update_bytes: u64,
    /// Fidelity of the coded update, in `0.0..=1.0`, as measured by the author: `1 - |x - y|^2 / |x|^2` for an update x
    /// that receivers decode as y. For small errors this is the squared cosine of the two.
    pub fidelity: f32,
    /// The source round of the author's vote for the parent: the newest round below the parent's, on the parent's branch,
    /// that the author knew as confirmed. `None` if the author abstains, because a vote would contradict an earlier vote of
    /// its own (docs/adr/0007).
    pub source: Option<u64>,
    /// What the author says about its work, and about the parent.
    pub report: Report,
    /// The number of noisy updates that the author made in this run, this one included; 0 in a model without noise. The ε that
    /// it has spent follows from the number: see [`crate::privacy`].
    pub releases: u64,
}

// `fidelity` is never NaN: borsh refuses to read or write one.
impl Eq for Contribution {}

impl Canonical for Contribution {
    const TAG: &'static str = "qres/contribution/3\n";
}

impl Authored for Contribution {
    fn author(&self) -> NodeId {
        self.author
    }
}

impl Contribution {
    /// Returns the [`ContributionId`]: the BLAKE3 of the canonical bytes.
    pub fn id(&self) -> ContributionId {
        ContributionId::of(&self.to_canonical())
    }
}
