//! What reaches a model's task.

use qres_fed::id::{BlobId, CheckpointId};
use qres_fed::round::{Input, Machine};
use tokio::sync::OwnedRwLockReadGuard;

use super::admission::SubmitRequest;
use crate::mesh::MessageToken;

/// What a model's task is told.
pub enum Message {
    /// Verified inputs.
    Inputs(Vec<Input>),
    /// A job's answer; the guard keeps its new blob until the machine refers to it.
    Done {
        /// The answer.
        input: Input,
        /// Taken before the blob was finished.
        guard: OwnedRwLockReadGuard<()>,
        /// The job's span.
        traceparent: Option<String>,
    },
    /// A wanted blob is in the store, its digest right, its content not yet looked at.
    Arrived(BlobId),
    /// A wanted blob that was in the store could not be read: it is looked for again.
    Unread(BlobId),
    /// From a trainer.
    Submit(Box<SubmitRequest>),
    /// From gossip: answered with a verdict.
    Gossip {
        /// A contribution, a seal or a proof.
        input: Input,
        /// What must be known for it to be of use now.
        parent: CheckpointId,
        /// To answer with.
        token: MessageToken,
        /// The sender's span, to link to.
        traceparent: Option<String>,
    },
    /// A question about the machine.
    Ask(Box<dyn FnOnce(&Machine) + Send>),
}
