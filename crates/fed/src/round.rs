//! One model's rounds, as a state machine without I/O: `handle(input, now)` answers with what to do.
//!
//! | file | noun |
//! | --- | --- |
//! | `event` | what goes in and what comes out |
//! | `machine` | the machine, its settings, and the order in which it settles after an input |
//! | `ledger`, `orphans`, `outbox` | records held; records whose parents are unknown; outputs, durable ones first |
//! | `tree`, `leaves`, `ballots`, `chain` | checkpoints and their order; who contributed on which; the head's branch by round |
//! | `contribution`, `seal`, `equivocation`, `convicted` | taking records in: faults, bounds, proofs, who is convicted |
//! | `shares`, `naming` | how many seals are held that nobody names; who names one |
//! | `head`, `pursuit`, `jobs`, `blobs` | standing on the greatest checkpoint, recomputing what would be greater, fetching for it |
//! | `membership`, `deadline`, `sealer`, `late` | whom a round waits for, how long, who seals it, which late work it takes |
//! | `submissions` | from the trainers' hands into one contribution a parent, and what became of it |
//! | `horizon`, `archive` | what is forgotten; the head's branch below what is in memory |
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
