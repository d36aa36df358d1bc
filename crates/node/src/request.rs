//! The requests of callers, as plain values. `api` makes them from protobuf.

use std::collections::BTreeMap;

use bytes::Bytes;
use qres_fed::id::{BlobId, CheckpointId, SpecId};
use qres_fed::record::{End, Membership, Metric, ModelName, Rule, Schedule, TensorSpec};

/// A caller's name of a model: `name`, or `name@id` (id = spec id, 64 hex digits) which always works. An id in the place of the
/// name means the model of that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The model's name, or its id in text.
    pub name: ModelName,
    /// The spec's id, needed when two specs bear the name.
    pub id: Option<SpecId>,
}

/// The facts that a byte stream announces of itself; each is checked when given.
#[derive(Debug, Clone, Default)]
pub struct UploadOptions {
    /// An idempotency key: it makes the upload resumable and its outcome repeatable. At most 128 bytes, and as many before them for
    /// the name of a trainer whose keys are its own.
    pub key: Option<String>,
    /// The byte at which this stream goes on: the bytes before it are already kept. Above 0 only with a key.
    pub offset: u64,
    /// The total bytes of the stream.
    pub bytes: Option<u64>,
    /// The BLAKE3 of all bytes.
    pub digest: Option<BlobId>,
}

/// A new model, without its weights.
#[derive(Debug, Clone)]
pub struct CreateModel {
    /// The name of the new model.
    pub name: ModelName,
    /// The aggregation strategy, e.g. `fedavg/1`.
    pub strategy: Rule,
    /// The aggregation rules, e.g. `nnm/1` and `trimmed-mean/1`; none means the default for the members.
    pub aggregation: Vec<Rule>,
    /// The codec of updates, e.g. `bf16/1`.
    pub codec: Rule,
    /// The contributions that a round needs at least (k). `None` means a majority of the list; an open model must name them.
    pub min_contributions: Option<u32>,
    /// See [`qres_fed::record::RoundPolicy::target`].
    pub target: Option<u32>,
    /// See [`qres_fed::record::RoundPolicy::deadline_ms`].
    pub deadline_ms: Option<u64>,
    /// See [`qres_fed::record::RoundPolicy::deadline_ms_max`].
    pub deadline_ms_max: Option<u64>,
    /// See [`qres_fed::record::RoundPolicy::max_staleness`].
    pub max_staleness: Option<u32>,
    /// The members; `None` means a list of this node alone.
    pub membership: Option<Membership>,
    /// The metrics that contributions carry.
    pub metrics: Vec<Metric>,
    /// The end of the run.
    pub end: End,
    /// The mechanism that protects the members' data, e.g. `gaussian/1`.
    pub privacy: Rule,
    /// The numbers for trainers that change from round to round.
    pub schedules: BTreeMap<String, Schedule>,
    /// Names or patterns of the tensors that each trainer has for itself.
    pub personal: Vec<String>,
    /// Names or patterns of the tensors that keep their first values.
    pub frozen: Vec<String>,
    /// A predecessor; its head is then checkpoint 0, and no weights are sent.
    pub succeeds: Option<SpecId>,
    /// Weights made from a seed ([`Seeded`]); no weights are sent then either.
    pub seeded: Option<Seeded>,
    /// The stream of the weights.
    pub upload: UploadOptions,
}

/// First weights that the node makes itself: see [`qres_fed::tensor::write_seeded`].
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The schema, in any order.
    pub tensors: Vec<TensorSpec>,
    /// The seed that the weights are made from.
    pub seed: u64,
}

/// The content of a submission's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmissionKind {
    /// Full weights: this node takes their difference to the base.
    Weights,
    /// A difference: weights minus base.
    Delta,
}

/// A trainer's submission, without its bytes.
#[derive(Debug, Clone)]
pub struct Submit {
    /// The model to submit to.
    pub model: ModelRef,
    /// The checkpoint that the work was trained from. `None` is accepted only if just one was handed out for the open round.
    pub base: Option<CheckpointId>,
    /// The trainer's name, unique on this node, at most 128 bytes; empty means `default`.
    pub trainer: String,
    /// The training samples behind the work, at least 1.
    pub samples: u64,
    /// The content of the bytes: weights or a delta.
    pub kind: SubmissionKind,
    /// Figures: at most 64 numbers, which may be NaN, with names of at most 128 bytes. Those that the spec names describe the
    /// base, and travel.
    pub metrics: BTreeMap<String, f64>,
    /// The number of samples on which the metrics were measured; `None` means [`Submit::samples`].
    pub evaluation_samples: Option<u64>,
    /// The number of local steps behind the work, 1 to 2^40.
    pub steps: Option<f64>,
    /// The stream of the bytes.
    pub upload: UploadOptions,
}

/// A request for the weights of a checkpoint.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The model whose weights are wanted.
    pub model: ModelRef,
    /// Waits until the head differs from this checkpoint.
    pub after: Option<CheckpointId>,
    /// Asks for exactly this checkpoint instead of the head.
    pub checkpoint: Option<CheckpointId>,
    /// Asks for the best confirmed checkpoint by the metric of this name, or by the model's first one if it is empty.
    pub best: Option<String>,
    /// Asks for the newest confirmed checkpoint instead of a provisional head.
    pub confirmed_only: bool,
    /// With [`Fetch::after`] and without [`Fetch::trainer`]: takes heads, too, on which this node has contributed already.
    pub every_head: bool,
    /// Takes only a head that this trainer can still submit on; empty means `default`.
    pub trainer: Option<String>,
    /// The trainer whose personal tensors are wanted; empty means `default`, `None` their first values.
    pub personal: Option<String>,
    /// The first byte to send.
    pub offset: u64,
}

/// A state to publish under a joined model.
#[derive(Debug, Clone)]
pub struct PublishState {
    /// The model that the state belongs to; it must be joined.
    pub model: ModelRef,
    /// The name of this one of the node's states, at most 128 bytes.
    pub name: String,
    /// The time of the state in Unix ms; `None` means now.
    pub timestamp_unix_ms: Option<u64>,
    /// The tensors as a safetensors file.
    pub tensors: Bytes,
    /// The codec of the tensors on their way; `None` means `bf16/1`.
    pub codec: Option<Rule>,
}

/// The subject of a watch.
#[derive(Debug, Clone)]
pub enum WatchFilter {
    /// The models, all of them.
    Models,
    /// The rounds of one model.
    Rounds(ModelRef),
    /// The submissions of one model, or of all models when `None`.
    Submissions(Option<ModelRef>),
    /// The peers, all of them.
    Peers,
    /// The states of a model; only those with these names when any are given.
    States(ModelRef, Vec<String>),
}

/// Returns the name of a trainer, which is `default` for one without a name.
pub(crate) fn trainer_name(given: &str) -> &str {
    if given.is_empty() { "default" } else { given }
}
