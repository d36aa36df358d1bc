//! A joined model as other tasks see it: the inbox of its task, its heads, and what the two share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use qres_fed::id::{BlobId, CheckpointId, SpecId};
use qres_fed::round::{BaseError, ChangeInfo, CheckpointInfo, Conditions, Machine};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::command::{ModelCommand, Question};
use super::fixed::FixedState;
use super::refused::Refused;
use crate::error::NodeError;
use crate::refusal::{ended, stopped};
use crate::releases::Releases;

/// The parts of a running model that other tasks use.
pub struct Joined {
    /// Sends messages to the model's task.
    pub inbox: mpsc::Sender<ModelCommand>,
    /// The current heads of the model.
    pub heads: watch::Receiver<Heads>,
    /// Bases handed out to trainers while the open round lasts.
    pub handed_out: Mutex<BTreeSet<CheckpointId>>,
    /// The number of submissions that wait to be merged, once the node drains.
    pub unmerged: watch::Receiver<Option<usize>>,
    /// Blobs of submissions that the disk does not take yet.
    pub unstored: Arc<Mutex<BTreeSet<BlobId>>>,
    /// The number of records that the machine holds in memory.
    pub records: AtomicUsize,
    /// Records that came by comparison and were not kept.
    pub refused: Mutex<Refused>,
    /// The changes of members that are proposed.
    pub changes: Mutex<Vec<ChangeInfo>>,
    /// The noisy updates that this node made in the run.
    pub releases: Releases,
    /// How far the file of the fixed tensors has come.
    pub fixed: watch::Sender<FixedState>,
    /// Ends the model's task.
    pub stop: CancellationToken,
}

/// The head of a model and the facts about it that other tasks need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The head of the model.
    pub head: CheckpointInfo,
    /// The newest confirmed checkpoint of its branch.
    pub confirmed: CheckpointInfo,
    /// True if this node can still contribute on the head, or never could.
    pub workable: bool,
    /// The last checkpoint of the run, once the run is complete.
    pub last: Option<CheckpointInfo>,
    /// The number of submissions, in this run, of which no update could be made: a trainer may wait for one more.
    pub unusable_count: u64,
    /// The conditions that an operator should know.
    pub conditions: Conditions,
    /// The successor of the model and the model's last checkpoint, once a quorum of its members ended it.
    pub successor: Option<(SpecId, CheckpointId)>,
}

impl Heads {
    /// Reads the heads of a [`Machine`] as it stands.
    pub fn of(machine: &Machine) -> Self {
        let head = machine.head();
        let fault = machine.check_base(&head.id).err();
        Self {
            head,
            confirmed: machine.confirmed_head(),
            unusable_count: machine.unusable_count(),
            last: machine.last_checkpoint(),
            workable: !matches!(
                fault,
                Some(BaseError::Contributed(_) | BaseError::Conflicts { .. } | BaseError::Complete(_))
            ),
            conditions: machine.conditions(),
            successor: machine.succession().map(|end| (end.successor, end.checkpoint)),
        }
    }
}

impl Joined {
    /// Refuses work on a model that its members have ended ([`Reason::ModelEnded`]).
    pub fn refuse_if_ended(&self) -> Result<(), NodeError> {
        self.heads
            .borrow()
            .successor
            .map_or(Ok(()), |(successor, _)| Err(ended(&successor)))
    }

    /// Forgets the records that were refused: they may be welcome now.
    pub fn forget_refused(&self) {
        self.refused.lock().clear();
    }

    /// Asks the model's task a question about its [`Machine`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Machine) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        self.answer(question, ModelCommand::Ask).await
    }

    /// Asks the model's task a question whose answer goes to other nodes ([`ModelCommand::AskDurable`]). The error is
    /// [`Reason::Stopping`], too, while the disk takes nothing.
    pub async fn ask_durable<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Machine) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        self.answer(question, ModelCommand::AskDurable).await
    }

    async fn answer<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Machine) -> T + Send + 'static,
        command: impl FnOnce(Question) -> ModelCommand,
    ) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        let question = move |machine: &Machine| {
            // Sending fails only if the caller has gone: then the answer is not needed.
            let _ = reply.send(question(machine));
        };
        let command = command(Box::new(question));
        self.inbox.send(command).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}
