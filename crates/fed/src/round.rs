//! The rounds of one model, as a state machine without I/O: [`Machine::handle`] takes an input and the time, and returns what
//! to do.
//!
//! | file | subject |
//! | --- | --- |
//! | `event` | inputs and outputs |
//! | `machine` | the machine, its settings, and the order in which it settles after an input |
//! | `ledger`, `orphans`, `outbox` | records held; records whose parents are unknown; outputs, durable ones first |
//! | `tree`, `leaves`, `ballots`, `chain` | checkpoints and their order; the contributions on each; the head's branch by round |
//! | `contribution`, `seal`, `equivocation`, `convicted` | taking records in: faults, bounds, proofs, convicted nodes |
//! | `shares`, `naming` | limits on held seals that no other node names; the records that name a checkpoint |
//! | `head`, `pursuit`, `jobs`, `blobs` | the greatest checkpoint as head, recomputing greater ones, fetching for them |
//! | `membership`, `deadline`, `sealer`, `late` | the members a round waits for, how long, who seals it, the late work in it |
//! | `submissions` | from the trainers into one contribution per parent, and what became of it |
//! | `horizon`, `archive` | records that are forgotten; the head's branch below what is in memory |
//! | `restore`, `view` | what a store gives back; what callers see |

mod archive;
mod attendance;
mod ballots;
mod blobs;
mod chain;
mod comparison;
mod condition;
mod contribution;
mod convicted;
mod deadline;
mod equivocation;
mod event;
mod fate;
mod head;
mod horizon;
mod jobs;
mod late;
mod leaves;
mod ledger;
mod machine;
mod membership;
mod naming;
mod orphans;
mod outbox;
mod pursuit;
mod restore;
mod seal;
mod sealer;
mod shares;
mod submissions;
mod trainers;
mod tree;
mod view;
mod vote;

#[cfg(test)]
mod promises;
#[cfg(test)]
mod stage;

pub use archive::{Archived, Root};
pub use condition::{Comparing, Conditions, Convicted, Unsettled};
pub use event::{
    AggregateJob, EncodeJob, Forgotten, FreshItem, Input, LateItem, Output, Persist, Refusal, Submission,
    SubmissionState, Unsigned,
};
pub use machine::{BaseError, CheckpointInfo, Config, ContributionInfo, Machine, RecordId, Restored, RoundInfo};
