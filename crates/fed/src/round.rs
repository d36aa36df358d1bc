//! The rounds of one model, as a state machine without I/O: [`Machine::handle`] takes an input and the time, and returns what
//! to do.
//!
//! ```text
//! event      inputs and outputs: the alphabet
//! table/     what the machine holds; no file there knows the machine
//!   ledger, orphans, outbox          records held; records whose parents are unknown; outputs, durable ones first
//!   tree, leaves, ballots, chain     checkpoints and their order; the contributions on each; the head's branch by round
//!   convicted                        convicted nodes, by branch
//!   attendance, trainers             members seen lately, with their paces; the trainers that a merge waits for
//! machine    the machine, its settings, and the order in which it settles after an input
//! machine/   what it does, a subject a file
//!   contribution, seal, equivocation     taking records in: faults, bounds, proofs
//!   shares, naming                       limits on held seals that no other node names; the records that name a checkpoint
//!   head, pursuit, jobs, blobs           the greatest checkpoint as head, recomputing greater ones, fetching for them
//!   membership, deadline, sealer, late   the members a round waits for, how long, who seals it, the late work in it
//!   vote, fate                           the votes that a contribution carries; what became of a submission
//!   submissions                          from the trainers into one contribution per parent
//!   horizon, archive                     records that are forgotten; the head's branch below what is in memory
//!   comparison, condition                nothing is signed before records are compared; what an operator should know
//!   restore, view                        what a store gives back; what callers see
//! promises/  a test for each promise of docs/reliability.md, on a stage (`stage`) that drives one machine
//! ```

mod event;
mod machine;
mod table;

#[cfg(test)]
mod promises;
#[cfg(test)]
mod stage;

pub use event::{
    AggregateJob, EncodeJob, Forgotten, FreshItem, Input, LateItem, Output, Persist, Refusal, Submission,
    SubmissionState, Unsigned,
};
pub use machine::archive::{Archived, Root};
pub use machine::condition::{Comparing, Conditions, Convicted, Unsettled};
pub use machine::{BaseError, CheckpointInfo, Config, ContributionInfo, Machine, RecordId, Restored, RoundInfo};
