//! What a node answers to its callers, as plain values. `api` turns them into protobuf.

use std::collections::BTreeMap;
use std::sync::Arc;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId, SpecId, SubmissionId};
use qres_fed::record::{ModelName, Spec};
use qres_fed::round::SubmissionState;

use crate::descriptors::Descriptors;
pub use crate::mesh::{PeerState, PeerView};
pub use crate::store::{DiskUse, HeardModel};

/// A commit number of this node's store: one sequence, across restarts.
pub type Revision = u64;

/// How a node stands to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Known from an announcement, not joined.
    Available,
    /// Joined, weights of checkpoint 0 or the head still on their way.
    Syncing,
    /// Joined and standing on a head.
    Joined,
}

/// A checkpoint on the head's branch.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointView {
    /// Its id.
    pub id: CheckpointId,
    /// Its round.
    pub round: u64,
    /// `None` for checkpoint 0.
    pub parent: Option<CheckpointId>,
    /// The weights' digest.
    pub weights: BlobId,
    /// The weights' length (0 while unknown).
    pub bytes: u64,
    /// A quorum stands on it.
    pub confirmed: bool,
}

/// A model as this node knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelView {
    /// Its spec.
    pub spec: Spec,
    /// The spec's id.
    pub id: SpecId,
    /// This node's relation to it.
    pub standing: Standing,
    /// Whether this node may contribute.
    pub member: bool,
    /// Where it stands, once joined.
    pub head: Option<CheckpointView>,
    /// What trainers apply: `mu`, `learning_rate`, …
    pub trainer_config: BTreeMap<String, f64>,
    /// Things a person should know, e.g. "2 identities own this open model".
    pub warnings: Vec<String>,
    /// What keeps this node from contributing, or its rounds from counting, right now.
    pub conditions: Vec<ConditionView>,
}

/// What is the matter with a model on this node right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionView {
    /// Which kind.
    pub kind: ConditionKind,
    /// In words, with the remedy.
    pub text: String,
    /// Of a conviction: the proof, where it is held.
    pub proof: Option<ProofId>,
}

/// The kinds of conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionKind {
    /// This node signed two contributions on one parent: its work is refused for good.
    Convicted,
    /// Another process runs with this node's identity.
    IdentityInUse,
    /// This node has just started and compares its records before it signs.
    Comparing,
    /// No quorum has confirmed the newest rounds.
    Unsettled,
}

/// One contribution as a round shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContributionView {
    /// Its id.
    pub id: ContributionId,
    /// By whom; `None`, and all below 0, once it is forgotten: of old rounds the seal alone is kept.
    pub author: Option<NodeId>,
    /// Its weight.
    pub samples: u64,
    /// As its author measured.
    pub fidelity: f32,
    /// Length of the coded update.
    pub bytes: u64,
    /// Taken as late work.
    pub late: bool,
}

/// A seal that lost.
#[derive(Debug, Clone, PartialEq)]
pub struct LosingSealView {
    /// The checkpoint it would have made.
    pub checkpoint: CheckpointId,
    /// By whom.
    pub sealer: NodeId,
}

/// A round of a model on the head's branch, or the open one.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundView {
    /// The model's spec.
    pub spec: SpecId,
    /// Its name.
    pub model: ModelName,
    /// 1 for the first.
    pub round: u64,
    /// The parent checkpoint.
    pub parent: CheckpointId,
    /// `None` while open.
    pub checkpoint: Option<CheckpointView>,
    /// Who sealed (each valid sealer known), empty while open.
    pub sealers: Vec<NodeId>,
    /// What is in.
    pub contributions: Vec<ContributionView>,
    /// Expected, not in.
    pub missing: Vec<NodeId>,
    /// k.
    pub min_contributions: u32,
    /// Until the deadline; `None` when none runs.
    pub deadline_in_ms: Option<u64>,
    /// Seals on the same round that the head's branch passed over.
    pub losing_seals: Vec<LosingSealView>,
}

/// A submission and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SubmissionView {
    /// Its id.
    pub id: SubmissionId,
    /// The model's spec.
    pub spec: SpecId,
    /// Its name.
    pub model: ModelName,
    /// Which trainer.
    pub trainer: String,
    /// The base that it named (or that was inferred).
    pub base: CheckpointId,
    /// Samples.
    pub samples: u64,
    /// What the trainer reported.
    pub metrics: BTreeMap<String, f64>,
    /// Bytes of the safetensors file.
    pub bytes: u64,
    /// When it was acknowledged, Unix ms.
    pub at_unix_ms: u64,
    /// What became of it.
    pub state: SubmissionState,
}

/// A published state.
#[derive(Debug, Clone, PartialEq)]
pub struct StateView {
    /// The model's spec.
    pub spec: SpecId,
    /// Its name.
    pub model: ModelName,
    /// Who published.
    pub publisher: NodeId,
    /// Which of the publisher's states.
    pub name: String,
    /// The publisher's sequence: orders the states.
    pub sequence: u64,
    /// What the publisher's clock said: informs only.
    pub timestamp_unix_ms: u64,
    /// The publisher's measured claim.
    pub fidelity: f64,
    /// The tensors, decoded, as a safetensors file.
    pub tensors: bytes::Bytes,
}

/// A model in a list.
#[derive(Debug, Clone, PartialEq)]
pub enum ListedModel {
    /// It is or was joined here.
    Here(Box<ModelView>),
    /// It was announced: [`crate::handle::NodeHandle::model`] shows the rest.
    Heard(Arc<HeardModel>),
}

/// This node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Who.
    pub node: NodeId,
    /// The libp2p peer id as text.
    pub peer_id: String,
    /// Software version.
    pub version: String,
    /// Swarm protocol, e.g. `10.0`.
    pub protocol: String,
    /// `node` or `bootstrap`.
    pub mode: String,
    /// Mesh addresses.
    pub listen: Vec<String>,
    /// How long it has run.
    pub uptime_ms: u64,
    /// Connected peers.
    pub peers: u32,
    /// Whether it drains: it takes no new submissions.
    pub draining: bool,
    /// The store's newest revision.
    pub revision: Revision,
    /// Bytes of blobs held.
    pub blob_bytes: u64,
    /// What the node takes of its disk, and may take.
    pub disk: DiskUse,
    /// The process's file descriptors.
    pub descriptors: Descriptors,
}

/// What a watch tells.
// Events are kept behind an `Arc` each, so the largest one sets nobody's size.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A model was created, joined, left, became available, or its head moved.
    Model(ModelView),
    /// A model was left: it is gone from here (or only available).
    ModelLeft(SpecId, ModelName),
    /// A round opened, gained a contribution, or was sealed.
    Round(RoundView),
    /// A submission's state.
    Submission(SubmissionView),
    /// A peer's state.
    Peer(PeerView),
    /// A model was announced.
    ModelHeard(Arc<HeardModel>),
    /// A state was published.
    State(StateView),
}

/// One item of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchItem {
    /// The revision asked for is no longer kept: a snapshot follows. Holds the oldest one kept.
    TooOld(Revision),
    /// As things stand at this revision (several of these, then `SnapshotEnd`).
    Snapshot(Revision, Event),
    /// The snapshot is complete at this revision; changes follow.
    SnapshotEnd(Revision),
    /// Something changed with this revision.
    Change(Revision, Event),
}
