//! The answers of a node to its callers, as plain values. `api` turns them into protobuf.

pub(crate) mod conditions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use qres_fed::aggregation::Verdict;
use qres_fed::id::{CheckpointId, ContributionId, NodeId, ProofId, SpecId, SubmissionId};
use qres_fed::privacy;
use qres_fed::record::{Content, Metric, ModelName, Report, Spec, Summary};
use qres_fed::round::{ChangeInfo, SubmissionState};
use qres_files::descriptors::Descriptors;
pub use qres_mesh::{PeerState, PeerView};
pub use qres_store::{DiskUse, HeardModel};

/// The number of an event on this node: one ascending sequence, across restarts.
pub type Revision = u64;

/// The relation of a node to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinStatus {
    /// The model is known, but not joined.
    Available,
    /// The model is joined; weights of checkpoint 0 or the head are still on their way.
    Syncing,
    /// The model is joined, and the node stands on a head.
    Joined,
    /// The model is joined, and its run has ended where its spec says.
    Complete,
    /// The model is joined and has ended: its members changed, and it goes on as a successor.
    Superseded,
}

/// A checkpoint on the head's branch.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointView {
    /// The id of the checkpoint.
    pub id: CheckpointId,
    /// The round that made the checkpoint; 0 for checkpoint 0.
    pub round: u64,
    /// The parent checkpoint; `None` for checkpoint 0.
    pub parent: Option<CheckpointId>,
    /// The digests of its blobs.
    pub content: Content,
    /// The weights' length in bytes.
    pub bytes: u64,
    /// True if a quorum stands on the checkpoint.
    pub confirmed: bool,
}

/// A model as this node knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelView {
    /// The spec of the model.
    pub spec: Spec,
    /// The spec's id.
    pub id: SpecId,
    /// The relation of this node to the model.
    pub standing: JoinStatus,
    /// True if this node may contribute.
    pub member: bool,
    /// The model's head, once joined.
    pub head: Option<CheckpointView>,
    /// Settings that trainers apply: `mu`, `learning_rate`, …
    pub trainer_config: BTreeMap<String, f64>,
    /// What this node has released of its data, in a model with noise.
    pub spent: Option<PrivacySpent>,
    /// Texts that a person should know, e.g. "2 identities own this open model".
    pub warnings: Vec<String>,
    /// The conditions that keep this node from contributing, or its rounds from counting, right now.
    pub conditions: Vec<ConditionView>,
    /// The spec with which the model goes on, once its members have ended it.
    pub successor: Option<SpecId>,
    /// The changes of members that are proposed.
    pub changes: Vec<ChangeInfo>,
}

/// The differential privacy that a member has spent in a run: see [`qres_fed::privacy`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrivacySpent {
    /// The number of noisy updates.
    pub releases: u64,
    /// The ε of all of them together.
    pub epsilon: f64,
    /// The δ for which this ε holds.
    pub delta: f64,
}

impl PrivacySpent {
    /// Returns what this many noisy updates cost in a model; `None` if it has no noise.
    pub(crate) fn of(spec: &Spec, releases: u64) -> Option<Self> {
        let gaussian = privacy::gaussian(spec)?;
        Some(Self {
            releases,
            epsilon: gaussian.epsilon(releases),
            delta: gaussian.delta,
        })
    }
}

/// A condition of a model on this node that its operator should know right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionView {
    /// The kind of the condition.
    pub kind: ConditionKind,
    /// The condition in words, with the remedy.
    pub text: String,
    /// The proof of a conviction ([`ConditionKind::Convicted`]), where it is held.
    pub proof: Option<ProofId>,
}

/// The kinds of conditions that a model can have.
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
    /// Members propose to change the list of members, and this node's operator is asked.
    MembersChange,
}

/// A contribution as a round shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ContributionView {
    /// The id of the contribution.
    pub id: ContributionId,
    /// The author. Once the contribution is forgotten, the author is `None` and the next three fields are 0: of old rounds the
    /// seal alone is kept.
    pub author: Option<NodeId>,
    /// The training samples behind it, which are its weight.
    pub samples: u64,
    /// The fidelity that its author measured.
    pub fidelity: f32,
    /// The length of the coded update in bytes.
    pub bytes: u64,
    /// True if it was taken as late work.
    pub late: bool,
    /// What the author says about its work.
    pub report: Report,
    /// What the author has released of its data, in a model with noise.
    pub spent: Option<PrivacySpent>,
    /// What the aggregation made of it, if this node has computed the checkpoint of the round.
    pub verdict: Option<Verdict>,
}

/// A metric of a model as a round measured it on its parent.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationView {
    /// The metric.
    pub metric: Metric,
    /// Its values over the round's fresh contributions.
    pub summary: Summary,
}

/// A seal on a round that the head's branch passed over.
#[derive(Debug, Clone, PartialEq)]
pub struct LosingSealView {
    /// The checkpoint that the seal would have made.
    pub checkpoint: CheckpointId,
    /// The member that signed the seal.
    pub sealer: NodeId,
}

/// A round of a model on the head's branch, or the open one.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundView {
    /// The model's spec.
    pub spec: SpecId,
    /// The name of the model.
    pub model: ModelName,
    /// The number of the round, from 1.
    pub round: u64,
    /// The parent checkpoint.
    pub parent: CheckpointId,
    /// The checkpoint that the round made; `None` while it is open.
    pub checkpoint: Option<CheckpointView>,
    /// The members that sealed (each valid sealer known), empty while open.
    pub sealers: Vec<NodeId>,
    /// The contributions that are in.
    pub contributions: Vec<ContributionView>,
    /// The metrics that the round's members measured on its parent.
    pub evaluation: Vec<EvaluationView>,
    /// True if the round only settles the last checkpoint of the run.
    pub closing: bool,
    /// Members whose contributions are expected and not in.
    pub missing: Vec<NodeId>,
    /// The contributions that the round needs at least (k).
    pub min_contributions: u32,
    /// The time until the deadline in ms; `None` when none runs.
    pub deadline_in_ms: Option<u64>,
    /// Seals on the same round that the head's branch passed over.
    pub losing_seals: Vec<LosingSealView>,
}

/// A submission and its fate.
#[derive(Debug, Clone, PartialEq)]
pub struct SubmissionView {
    /// The id of the submission.
    pub id: SubmissionId,
    /// The model's spec.
    pub spec: SpecId,
    /// The name of the model.
    pub model: ModelName,
    /// The name of the trainer.
    pub trainer: String,
    /// The base that the trainer named (or that was inferred).
    pub base: CheckpointId,
    /// The training samples behind the submission.
    pub samples: u64,
    /// The metrics that the trainer reported.
    pub metrics: BTreeMap<String, f64>,
    /// The bytes of the safetensors file.
    pub bytes: u64,
    /// The time of its acknowledgement in Unix ms.
    pub at_unix_ms: u64,
    /// The current state of the submission.
    pub state: SubmissionState,
}

/// A state that was published.
#[derive(Debug, Clone, PartialEq)]
pub struct StateView {
    /// The model's spec.
    pub spec: SpecId,
    /// The name of the model.
    pub model: ModelName,
    /// The node that published the state.
    pub publisher: NodeId,
    /// The name of this one of the publisher's states.
    pub name: String,
    /// The publisher's sequence number, which orders the states.
    pub sequence: u64,
    /// The time that the publisher gave, in Unix ms; it informs only.
    pub timestamp_unix_ms: u64,
    /// The fidelity that the publisher claims to have measured.
    pub fidelity: f64,
    /// The tensors, decoded, as a safetensors file.
    pub tensors: bytes::Bytes,
}

/// A model in a list.
#[derive(Debug, Clone, PartialEq)]
pub enum ListedModel {
    /// The model is or was joined here.
    Here(Box<ModelView>),
    /// The model was only announced: [`crate::handle::NodeHandle::model`] shows the rest.
    Heard(Arc<HeardModel>),
}

/// The state of this node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// The id of this node.
    pub node: NodeId,
    /// The libp2p peer id as text.
    pub peer_id: String,
    /// The version of the software.
    pub version: String,
    /// The version of the swarm protocol, e.g. `10.0`.
    pub protocol: String,
    /// The mode of the node, `node` or `bootstrap`.
    pub mode: String,
    /// The addresses on which the mesh listens.
    pub listen: Vec<String>,
    /// The time since the start in ms.
    pub uptime_ms: u64,
    /// The number of connected peers.
    pub peers: u32,
    /// True while the node drains: it takes no new work.
    pub draining: bool,
    /// The newest revision given out.
    pub revision: Revision,
    /// The bytes of all blobs held.
    pub blob_bytes: u64,
    /// The bytes that the node takes of its disk, and may take.
    pub disk: DiskUse,
    /// The process's file descriptors.
    pub descriptors: Descriptors,
}

/// The signs of life of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vitals {
    /// True from the moment of a drain: the node takes no new work.
    pub draining: bool,
    /// The reason why the node has failed for good.
    pub failure: Option<String>,
    /// The time for which the mesh's loop has done nothing, if that is too long.
    pub stalled: Option<Duration>,
}

/// An event that a watch tells.
// Each kept event is behind an `Arc`, so the largest variant does not set the size of the others.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A model was created, joined or left, became available, or its head moved.
    Model(ModelView),
    /// A model was left or forgotten: it is gone from here, or it is [`JoinStatus::Available`].
    ModelLeft(SpecId, ModelName),
    /// A round opened, gained a contribution, or was sealed.
    Round(RoundView),
    /// A submission's state changed.
    Submission(SubmissionView),
    /// A peer's state changed.
    Peer(PeerView),
    /// A model was announced.
    ModelHeard(Arc<HeardModel>),
    /// A state was published.
    State(StateView),
}

/// An item of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchItem {
    /// The revision asked for is no longer kept: a snapshot follows. Holds the oldest one kept.
    TooOld(Revision),
    /// An item of the snapshot at this revision (several of these, then [`WatchItem::SnapshotEnd`]).
    Snapshot(Revision, Event),
    /// The snapshot is complete at this revision; changes follow.
    SnapshotEnd(Revision),
    /// An event that happened with this revision.
    Change(Revision, Event),
}
