//! A node's update on one parent checkpoint.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical};
use crate::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId};

/// The largest sample count that is believed: 2^40, about 10^12. A weight above it is a mistake or an attack.
pub const SAMPLES_MAX: u64 = 1 << 40;

/// One node's update, merged from its trainers' submissions, on one parent checkpoint.
///
/// A node signs at most one a parent. Two different ones are a [`super::Proof`] of equivocation.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Contribution {
    /// The spec it is for.
    pub spec: SpecId,
    /// The checkpoint that the update is a difference against.
    pub parent: CheckpointId,
    /// The parent's round plus one.
    pub round: u64,
    /// Who trained.
    pub author: NodeId,
    /// Training samples behind it, `1..=SAMPLES_MAX`: its weight.
    pub samples: u64,
    /// The coded update (the spec's codec over the spec's schema).
    pub update: BlobId,
    /// Length of that blob, in bytes.
    pub update_bytes: u64,
    /// Squared cosine of the update before and after coding, in `0.0..=1.0`, as measured by the author.
    pub fidelity: f32,
    /// The vote for the parent: the newest round below the parent's, on its branch, that the author knew as confirmed. `None`
    /// when the author abstains, because a vote would contradict an earlier vote of its own (docs/adr/0007).
    pub source: Option<u64>,
}

// `fidelity` is never NaN: borsh refuses to read or write one.
impl Eq for Contribution {}

impl Canonical for Contribution {
    const TAG: &'static str = "qres/contribution/1\n";
}

impl Authored for Contribution {
    fn author(&self) -> NodeId {
        self.author
    }
}

impl Contribution {
    /// BLAKE3 of the canonical bytes.
    pub fn id(&self) -> ContributionId {
        ContributionId::of(&self.to_canonical())
    }
}
