//! The commands to a model's task.

use qres_fed::id::{BlobId, CheckpointId};
use qres_fed::round::{Input, Machine};
use qres_mesh::MessageToken;
use qres_store::{StoredKey, StoredSubmission, Verdicts};
use tokio::sync::{OwnedRwLockReadGuard, oneshot};

use crate::error::NodeError;
use crate::view::SubmissionView;

/// A question about a model's [`Machine`].
pub type Question = Box<dyn FnOnce(&Machine) + Send>;

/// What an aggregation made of each contribution of a checkpoint.
pub struct Judged {
    /// The round that the checkpoint closes.
    pub round: u64,
    /// The checkpoint that the proposal makes.
    pub checkpoint: CheckpointId,
    /// The verdicts.
    pub verdicts: Verdicts,
}

/// A command to a model's task.
pub enum ModelCommand {
    /// Verified inputs for the [`Machine`].
    Inputs(Vec<Input>),
    /// The answer of a job; the guard keeps its new blob until the machine refers to it.
    Done {
        /// The answer for the machine.
        input: Input,
        /// The verdicts of an aggregation.
        judged: Option<Judged>,
        /// The guard, which was taken before the blob was finished.
        guard: OwnedRwLockReadGuard<()>,
        /// The trace context of the job's span.
        traceparent: Option<String>,
    },
    /// A wanted blob is in the store: its digest is right, its content is not yet checked.
    Arrived(BlobId),
    /// A wanted blob that was in the store could not be read: it is looked for again.
    Unread(BlobId),
    /// A submission of a trainer.
    Submit(Box<SubmitRequest>),
    /// A record from gossip, which is answered with a verdict.
    Gossip {
        /// A contribution, a seal or a proof.
        input: Input,
        /// The checkpoint that must be known for the record to be of use now.
        parent: CheckpointId,
        /// The token to report the verdict with.
        token: MessageToken,
        /// The trace context of the sender's span, to link to.
        traceparent: Option<String>,
    },
    /// A question about the machine, which is answered at once.
    Ask(Question),
    /// A question whose answer goes to other nodes: it is answered when all that the machine holds is durable, and not at all
    /// while the disk takes nothing. Else a crash could make this node forget a record that others know.
    AskDurable(Question),
}

/// A submission that is to be stored and acknowledged.
pub struct SubmitRequest {
    /// The submission to store.
    pub stored: StoredSubmission,
    /// The idempotency key that is committed together with the submission.
    pub key: Option<StoredKey>,
    /// Keeps the blob from the collector until the submission is stored.
    pub guard: OwnedRwLockReadGuard<()>,
    /// Takes the answer once the submission is durable or refused.
    pub reply: oneshot::Sender<Result<SubmissionView, NodeError>>,
}
