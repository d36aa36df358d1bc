//! One joined model: the task that owns its round machine, and the parts that the task uses.
//!
//! A task takes commands from its inbox, feeds its [`Machine`](qres_fed::round::Machine), and collects the machine's outputs
//! in a [`Batch`](batch::Batch). One transaction, so one fsync, serves a whole batch:
//!
//! ```text
//! callers, gossip, sync, jobs            the model's task                                 the disk, peers, callers
//!   ModelCommand ──inbox (256)──▶ take ──Input──▶ Machine ──Output──▶ Batch
//!                                                                  │ ready(): the writes of the turn
//!                                                                  ├──────────────────────────▶ commit
//!                                                                  │ done(): answers and effects
//!                                                                  ├──────────────────────────▶ acknowledge, send, fetch,
//!                              Input ◀── answers of jobs ──────────┘                             compute, tell watchers
//! ```
//!
//! The order is the promise: a node sends and acknowledges nothing that a crash could make it forget. Only signing is done at
//! once, because a signature alone has no effect outside the node.
//!
//! A transaction that fails does not end the task. The task is *stuck* then: the writes stay in the batch and are tried again
//! every second, questions and jobs are still answered, submissions are refused with the reason, and the records of other nodes
//! are passed over, because a comparison brings them again.
//!
//! Example: a trainer submits. `service/submit` sends [`ModelCommand::Submit`](crate::catalog::command::ModelCommand::Submit); the task
//! compares the submission with the stored ones, adds it to the batch and feeds `Input::Submission`. The machine answers
//! with `Output::Encode`, because all trainers have submitted. The batch commits the submission, its key and its state; then
//! the trainer gets its acknowledgement, and the job begins to code the update.

pub mod batch;
pub mod commit;
pub mod curve;
pub mod effects;
pub mod job;
pub mod round_clock;
pub mod spans;
pub mod start;
pub mod submit;
pub mod task;
pub mod wants;
