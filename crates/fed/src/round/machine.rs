//! The round as a state machine.

use std::collections::{BTreeMap, BTreeSet};

use super::{Input, Output, Submission, SubmissionState};
use crate::id::{BlobId, CheckpointId, ContributionId, Instant, NodeId, ProofId, SealId};
use crate::record::{Contribution, Proof, Seal, Signed, Spec};

/// A node's own settings for one model. None of them makes a record valid or invalid.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Trainers to wait for before merging (a follower's are refused whatever this says).
    pub trainers: u32,
    /// How long before the round's deadline what is here is merged anyway.
    pub merge_margin_ms: u64,
    /// Rounds whose checkpoints stay below the confirmed head; `None` = all.
    pub keep_rounds: Option<u64>,
}

/// What a store remembers of a model, in any order.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// As persisted.
    pub contributions: Vec<Signed<Contribution>>,
    /// As persisted.
    pub seals: Vec<Signed<Seal>>,
    /// As persisted.
    pub proofs: Vec<Proof>,
    /// Checkpoints whose weights are here and right (checkpoint 0 included, once its blob is here).
    pub verified: BTreeSet<CheckpointId>,
    /// Submissions that are not final.
    pub submissions: Vec<(Submission, SubmissionState)>,
}

/// A record's name for sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum RecordId {
    Contribution(ContributionId),
    Seal(SealId),
    Proof(ProofId),
}

/// A checkpoint as a machine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CheckpointInfo {
    pub id: CheckpointId,
    pub round: u64,
    pub parent: Option<CheckpointId>,
    pub weights: BlobId,
    /// A quorum stands on it or on a descendant.
    pub confirmed: bool,
    /// The weights are here and right.
    pub verified: bool,
}

/// A contribution as a round shows it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ContributionInfo {
    pub id: ContributionId,
    pub author: NodeId,
    pub samples: u64,
    pub fidelity: f32,
    pub bytes: u64,
    pub late: bool,
    /// Its blob is here and checked.
    pub here: bool,
}

/// A round of the head's branch, or the open one.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct RoundInfo {
    pub round: u64,
    pub parent: CheckpointId,
    /// `None` while open.
    pub checkpoint: Option<CheckpointInfo>,
    pub sealers: Vec<NodeId>,
    pub contributions: Vec<ContributionInfo>,
    /// Expected, not in.
    pub missing: Vec<NodeId>,
    pub deadline: Option<Instant>,
    pub losing_seals: Vec<(CheckpointId, NodeId)>,
}

/// Why a submission's base cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BaseError {
    #[error("base {0} is unknown here: fetch the head and train from it")]
    Unknown(CheckpointId),
    #[error("base {base} is {behind} rounds behind, the spec takes at most {limit}: fetch the head and train from it")]
    Stale {
        base: CheckpointId,
        behind: u64,
        limit: u32,
    },
    #[error("the weights of base {0} are no longer held here: fetch the head and train from it")]
    NotHeld(CheckpointId),
    #[error("this node has already contributed on base {0}: fetch the head (waiting for the next) and train from it")]
    Contributed(CheckpointId),
    #[error("this node is not a member of the model: it may fetch, not submit")]
    NotMember,
}

/// Drives one model on one node: `handle(input, now)` answers with what to do, in order.
pub struct Machine {}

#[allow(unused_variables, missing_docs)]
impl Machine {
    /// From what the store remembers; the outputs are to be carried out like any other's.
    pub fn new(spec: Spec, config: Config, restored: Restored, now: Instant) -> (Self, Vec<Output>) {
        todo!()
    }
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        todo!()
    }
    pub fn head(&self) -> CheckpointInfo {
        todo!()
    }
    /// The newest confirmed checkpoint of the head's branch (checkpoint 0 when none is).
    pub fn confirmed_head(&self) -> CheckpointInfo {
        todo!()
    }
    pub fn checkpoint(&self, id: &CheckpointId) -> Option<CheckpointInfo> {
        todo!()
    }
    pub fn check_base(&self, base: &CheckpointId) -> Result<(), BaseError> {
        todo!()
    }
    /// The round on the head that is open now.
    pub fn open_round(&self) -> RoundInfo {
        todo!()
    }
    /// A sealed round of the head's branch, or the open one.
    pub fn round(&self, round: u64) -> Option<RoundInfo> {
        todo!()
    }
    /// Blobs that must be kept; all others of this model may be collected.
    pub fn live_blobs(&self) -> BTreeSet<BlobId> {
        todo!()
    }
    /// Every record held, by round: what sync compares.
    pub fn records(&self) -> &BTreeSet<(u64, RecordId)> {
        todo!()
    }
    pub fn contribution(&self, id: &ContributionId) -> Option<&Signed<Contribution>> {
        todo!()
    }
    pub fn seal(&self, id: &SealId) -> Option<&Signed<Seal>> {
        todo!()
    }
    pub fn proof(&self, id: &ProofId) -> Option<&Proof> {
        todo!()
    }
    /// States of this node's submissions that are not final or became so in this run.
    pub fn submissions(&self) -> &BTreeMap<crate::id::SubmissionId, SubmissionState> {
        todo!()
    }
}
