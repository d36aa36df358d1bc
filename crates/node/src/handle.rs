//! The node's front: everything a caller can ask of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{Membership, ModelName, Rule};

use crate::error::NodeError;
use crate::view::{
    CheckpointView, ModelView, NodeView, PeerView, Revision, RoundView, StateView, SubmissionView, WatchItem,
};

type Answer<T> = Result<T, NodeError>;

/// How a caller names a model: `name`, or `name@id` (id = spec id, 64 hex digits) which always works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The name.
    pub name: ModelName,
    /// The spec, when two bear the name.
    pub id: Option<SpecId>,
}

/// What a byte stream announces of itself; each is checked when given.
#[derive(Debug, Clone, Default)]
pub struct UploadOptions {
    /// Idempotency key: makes the upload resumable and its outcome repeatable. At most 128 bytes.
    pub key: Option<String>,
    /// Where this stream goes on (only with a key): bytes already kept.
    pub offset: u64,
    /// Total bytes.
    pub bytes: Option<u64>,
    /// BLAKE3 of all bytes.
    pub digest: Option<BlobId>,
}

/// A new model, without its weights.
#[derive(Debug, Clone)]
pub struct CreateModel {
    /// Name.
    pub name: ModelName,
    /// e.g. `fedavg/1`.
    pub strategy: Rule,
    /// e.g. `bf16/1`.
    pub codec: Rule,
    /// k; `None` = a majority of the list.
    pub min_contributions: Option<u32>,
    /// See `RoundPolicy`.
    pub target: Option<u32>,
    /// See `RoundPolicy`.
    pub deadline_ms: Option<u64>,
    /// See `RoundPolicy`.
    pub deadline_ms_max: Option<u64>,
    /// See `RoundPolicy`.
    pub max_staleness: Option<u32>,
    /// `None` = a list of this node and the peers connected now.
    pub membership: Option<Membership>,
    /// A predecessor; its head is then checkpoint 0 and no weights are sent.
    pub succeeds: Option<SpecId>,
    /// The weights' stream.
    pub upload: UploadOptions,
}

/// What a submission's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmissionKind {
    /// Full weights: differenced against the base here.
    Weights,
    /// Already weights minus base.
    Delta,
}

/// A trainer's submission, without its bytes.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Which model.
    pub model: ModelRef,
    /// The checkpoint it was trained from; `None` is accepted only if just one was handed out for the open round.
    pub base: Option<CheckpointId>,
    /// Unique on this node, at most 128 bytes; empty = `default`.
    pub trainer: String,
    /// Training samples behind it.
    pub samples: u64,
    /// Weights or delta.
    pub kind: SubmissionKind,
    /// For people: at most 64 finite numbers.
    pub metrics: BTreeMap<String, f64>,
    /// The bytes' stream.
    pub upload: UploadOptions,
}

/// A fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Which model.
    pub model: ModelRef,
    /// Wait until the head differs from this one.
    pub after: Option<CheckpointId>,
    /// Exactly this checkpoint instead of the head.
    pub checkpoint: Option<CheckpointId>,
    /// The newest confirmed checkpoint instead of a provisional head.
    pub confirmed_only: bool,
    /// First byte to send.
    pub offset: u64,
}

/// The answer to a fetch.
pub struct Fetched {
    /// Which checkpoint.
    pub checkpoint: CheckpointView,
    /// What the trainer must apply: `mu`, `learning_rate`, …
    pub trainer_config: BTreeMap<String, f64>,
    /// The spec.
    pub spec: SpecId,
    /// The safetensors file's bytes from the offset on, in chunks of at most 1 MiB.
    pub chunks: BoxStream<'static, Answer<Bytes>>,
}

/// A state to publish.
#[derive(Debug, Clone)]
pub struct PublishState {
    /// Which (joined) model.
    pub model: ModelRef,
    /// Which of this node's states, at most 128 bytes.
    pub name: String,
    /// Unix ms; `None` = now.
    pub timestamp_unix_ms: Option<u64>,
    /// A safetensors file.
    pub tensors: Bytes,
    /// How it is coded on the way; `None` = `bf16/1`.
    pub codec: Option<Rule>,
}

/// What to watch.
#[derive(Debug, Clone)]
pub enum WatchFilter {
    /// Models: all.
    Models,
    /// Rounds of one model.
    Rounds(ModelRef),
    /// Submissions of one model (all when `None`).
    Submissions(Option<ModelRef>),
    /// Peers.
    Peers,
    /// States of a model; only these names when not empty.
    States(ModelRef, Vec<String>),
}

/// A page of a list: items, and the token of the next page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// `None` on the last page.
    pub next: Option<String>,
}

/// Which page: at most `size` items after `token`.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// 1 to 1,000.
    pub size: usize,
    /// From the previous page; `None` = the first.
    pub token: Option<String>,
}

/// A byte stream on its way in; what it becomes is `T`.
pub struct Upload<T> {
    replay: Option<T>,
}

impl<T: Clone> Upload<T> {
    /// The outcome, when the idempotency key has completed before: no bytes need be sent.
    pub fn replay(&self) -> Option<T> {
        self.replay.clone()
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, _bytes: Bytes) -> Answer<()> {
        unimplemented!()
    }

    /// All bytes are in: checks, stores durably, answers.
    pub async fn finish(self) -> Answer<T> {
        unimplemented!()
    }
}

/// The node, for its callers. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {}

#[allow(missing_docs, clippy::unused_async)]
impl NodeHandle {
    pub async fn create_model(&self, _create: CreateModel) -> Answer<Upload<ModelView>> {
        unimplemented!()
    }
    pub async fn join_model(&self, _model: ModelRef) -> Answer<ModelView> {
        unimplemented!()
    }
    pub async fn leave_model(&self, _model: ModelRef) -> Answer<()> {
        unimplemented!()
    }
    pub async fn model(&self, _model: ModelRef) -> Answer<ModelView> {
        unimplemented!()
    }
    pub async fn models(&self, _page: PageRequest) -> Answer<Page<ModelView>> {
        unimplemented!()
    }
    pub async fn submit(&self, _submit: Submit) -> Answer<Upload<SubmissionView>> {
        unimplemented!()
    }
    pub async fn upload_offset(&self, _key: &str) -> Answer<u64> {
        unimplemented!()
    }
    pub async fn fetch(&self, _fetch: Fetch) -> Answer<Fetched> {
        unimplemented!()
    }
    pub async fn submission(&self, _id: SubmissionId, _wait: bool) -> Answer<SubmissionView> {
        unimplemented!()
    }
    pub async fn submissions(&self, _model: Option<ModelRef>, _page: PageRequest) -> Answer<Page<SubmissionView>> {
        unimplemented!()
    }
    pub async fn round(&self, _model: ModelRef, _round: Option<u64>) -> Answer<RoundView> {
        unimplemented!()
    }
    pub async fn rounds(&self, _model: ModelRef, _page: PageRequest) -> Answer<Page<RoundView>> {
        unimplemented!()
    }
    pub async fn seal_round(&self, _model: ModelRef) -> Answer<RoundView> {
        unimplemented!()
    }
    pub async fn publish_state(&self, _state: PublishState) -> Answer<StateView> {
        unimplemented!()
    }
    pub async fn peers(&self, _page: PageRequest) -> Answer<Page<PeerView>> {
        unimplemented!()
    }
    pub async fn peer(&self, _peer_id: &str) -> Answer<PeerView> {
        unimplemented!()
    }
    pub async fn dial(&self, _address: &str) -> Answer<()> {
        unimplemented!()
    }
    pub async fn ban(&self, _peer_id: &str, _reason: &str, _for_: Duration) -> Answer<PeerView> {
        unimplemented!()
    }
    pub async fn unban(&self, _peer_id: &str) -> Answer<PeerView> {
        unimplemented!()
    }
    pub async fn node(&self) -> Answer<NodeView> {
        unimplemented!()
    }
    pub async fn drain(&self) -> Answer<NodeView> {
        unimplemented!()
    }
    pub async fn watch(&self, _filter: WatchFilter, _from: Revision) -> Answer<BoxStream<'static, Answer<WatchItem>>> {
        unimplemented!()
    }
    /// Resolves when the node shuts down: long streams end then.
    pub fn stopping(&self) -> tokio_util::sync::WaitForCancellationFutureOwned {
        unimplemented!()
    }
}
