//! The records as stored, and the changes of them.

use std::collections::{BTreeMap, BTreeSet};

use qres_fed::aggregation::Verdict;
use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{
    Consent, Content, Contribution, ModelName, Proof, Report, Seal, Signature, Signed, Spec, Summary,
};
use qres_fed::round::{Archived, Forgotten, Root, SubmissionState};

/// A known model: its signed [`Spec`], and whether this node has joined it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StoredModel {
    pub spec: Signed<Spec>,
    pub joined: bool,
}

/// A model that was announced and that this node has not joined; its spec is a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeardModel {
    pub id: SpecId,
    pub name: ModelName,
    pub creator: NodeId,
    /// The spec that this one succeeds, if any.
    pub succeeds: Option<SpecId>,
    /// Length of the spec's canonical bytes.
    pub spec_bytes: u64,
    /// The creator's signature over the spec's canonical bytes.
    pub signature: Signature,
    /// The node that brought the announcement.
    pub carrier: NodeId,
}

/// A submission as stored: all that an answer about it needs.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct StoredSubmission {
    pub id: SubmissionId,
    pub spec: SpecId,
    pub model: ModelName,
    pub trainer: String,
    pub base: CheckpointId,
    pub samples: u64,
    /// True if the trainer sent weights minus base, not weights.
    pub delta: bool,
    pub metrics: BTreeMap<String, f64>,
    /// The part of what the trainer said that goes into the contribution.
    pub report: Report,
    /// The safetensors file, as the trainer sent it.
    pub blob: BlobId,
    pub bytes: u64,
    /// The trainer's personal tensors, if they came with the submission: they replace its earlier ones.
    pub personal: Option<BlobId>,
    pub at_unix_ms: u64,
    /// Time at which the state became final, in Unix ms; `None` = not final. The submission is kept 7 days from then.
    pub final_unix_ms: Option<u64>,
    pub state: SubmissionState,
    /// The W3C `traceparent` of the trainer's call.
    pub traceparent: Option<String>,
}

impl StoredSubmission {
    /// Returns true if the submission was not taken: its trainer may submit on the same base again.
    pub fn is_rejected(&self) -> bool {
        matches!(self.state, SubmissionState::Rejected { .. })
    }
}

/// The record that the call with an idempotency key made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyOutcome {
    Submission(SubmissionId),
    Model(SpecId),
}

/// An idempotency key, committed with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StoredKey {
    pub key: String,
    /// BLAKE3 of the request: header and content.
    pub request: [u8; 32],
    pub outcome: KeyOutcome,
    pub at_unix_ms: u64,
}

/// A state that a node published under a model, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StoredState {
    pub spec: SpecId,
    pub publisher: NodeId,
    pub name: String,
    pub sequence: u64,
    /// The whole signed envelope, as received.
    pub envelope: Vec<u8>,
}

/// A change of the store; a list of them is one transaction ([`Store::commit`](super::Store::commit)).
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Write {
    /// Makes a spec known. The model is not joined by this, and stays joined if it is already.
    Spec(Signed<Spec>),
    /// Forgets a spec, unless its model is joined or this node holds a contribution or a consent to it.
    ForgetSpec(SpecId),
    /// Keeps a model that was announced.
    Heard(HeardModel),
    /// Forgets an announced model: it is joined now, or had to make room for others.
    ForgetHeard(SpecId),
    Join(SpecId),
    /// Leaves a model, and forgets its records, states, archived rounds, personal tensors and [`Write::Verified`] marks; its
    /// submissions stay.
    Leave(SpecId),
    Contribution(Signed<Contribution>),
    Seal(Signed<Seal>),
    Proof(SpecId, Proof),
    /// Keeps a member's consent; it replaces the one of the same author.
    Consent(Signed<Consent>),
    Verified(SpecId, CheckpointId),
    /// Keeps the verdicts of a checkpoint that this node has computed, until its round goes into the archive.
    Verdicts {
        spec: SpecId,
        round: u64,
        checkpoint: CheckpointId,
        verdicts: Verdicts,
    },
    /// Keeps what the members of a round measured on the checkpoint's parent.
    Evaluation {
        spec: SpecId,
        round: u64,
        checkpoint: CheckpointId,
        evaluation: Evaluation,
    },
    /// Keeps the best checkpoint by a metric, which is named by its place in the spec.
    Best {
        spec: SpecId,
        metric: u8,
        best: Best,
    },
    /// This node has made at least so many noisy updates in a model. A lower count than the stored one changes nothing.
    Releases(StoredReleases),
    /// Gives the trainers of a successor the personal tensors that they have in the model before.
    CarryPersonal {
        from: SpecId,
        to: SpecId,
    },
    Submission(StoredSubmission),
    SubmissionState {
        id: SubmissionId,
        state: SubmissionState,
        final_unix_ms: Option<u64>,
    },
    Forget(SpecId, Forgotten),
    /// Moves rounds that are no longer in memory into the archive; the [`Root`] is the oldest checkpoint that is in
    /// memory.
    Archive(SpecId, Root, Vec<Archived>),
    /// Removes this checkpoint's round and all later rounds from the archive: they are in memory again.
    Unarchive(SpecId, Root),
    Key(StoredKey),
    State(StoredState),
    ForgetState {
        spec: SpecId,
        publisher: NodeId,
        name: String,
        sequence: u64,
    },
    /// Stores a small value under a name, for example `revision_ceiling`.
    Meta(&'static str, Vec<u8>),
}

/// The verdicts on the contributions of one checkpoint.
pub type Verdicts = Vec<(ContributionId, Verdict)>;

/// What the members of a round measured: a value for each of the spec's metrics, `None` where no member measured it.
pub type Evaluation = Vec<Option<Summary>>;

/// The noisy updates that this node made in a model. They stay when the model is left, for its successors.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct StoredReleases {
    pub spec: SpecId,
    pub model: ModelName,
    /// The noise of the updates, as in [`qres_fed::privacy::Gaussian`].
    pub noise_multiplier: f64,
    /// Their number; it includes those of the specs before this one.
    pub count: u64,
}

/// The best confirmed checkpoint by a metric, as far as this node knows.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct Best {
    pub checkpoint: CheckpointId,
    pub round: u64,
    pub parent: Option<CheckpointId>,
    pub content: Content,
    /// The metric's middle value, which the next round measured.
    pub value: f64,
}

/// The records of a model, in any order.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct ModelRecords {
    pub contributions: Vec<Signed<Contribution>>,
    pub seals: Vec<Signed<Seal>>,
    pub proofs: Vec<Proof>,
    pub consents: Vec<Signed<Consent>>,
    pub verified: BTreeSet<CheckpointId>,
    /// The oldest checkpoint in memory; `None` = checkpoint 0.
    pub root: Option<Root>,
}

/// A page of submissions, the newest first; `next` is the token of the page after it.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct SubmissionPage {
    pub items: Vec<StoredSubmission>,
    pub next: Option<String>,
}
