//! The rounds of one model, as a state machine without I/O. [`Machine::handle`] takes an [`Input`] and the time, and returns
//! [`Output`]s. The driver (in a node: the task of the model) carries out the outputs in their order. The results come back to
//! the machine as inputs. So every decision about a round is a function of the inputs, and a test can replay it.
//!
//! One round of two members A and B with k = 2, from the submissions to the next head (`input → outputs`, the main ones):
//!
//! ```text
//! node A                                                      node B
//! Submission → Encode                                         Submission → Encode
//! Encoded → Sign                                              Encoded → Sign
//! SignedContribution → Persist, SendContribution   ◄ gossip ► SignedContribution → Persist, SendContribution
//! Contribution (of B) → Persist, WantBlob                     Contribution (of A) → Persist, WantBlob
//! BlobHere → Aggregate      (all members are in)              BlobHere → Aggregate
//! Aggregated → Sign         (A is first in the draw)          Aggregated → WakeAt       (the turn of B, if A is silent)
//! SignedSeal → Persist, SendSeal, Head               gossip ► Seal (of A) → Persist, Head   (if B computed the same result)
//! ```
//!
//! The outputs, and the inputs that answer them:
//!
//! | output | task of the driver | input that answers |
//! | --- | --- | --- |
//! | [`Output::Persist`] | Writes a change. All changes of one call are one transaction, durable before the rest. | none |
//! | `Sign` | Signs a record, at once: a signature alone has no effect outside. The record comes back. | `Signed…` |
//! | `SendContribution`, `SendSeal`, `SendProof`, `SendConsent` | Announces a record, which is durable by then. | none |
//! | `Encode`, `Aggregate` | Computes on tensors, and stores the resulting blob. | `Encoded`, `Aggregated`, `…Failed` |
//! | `WantBlob`, until `DropBlob` | Fetches a blob and checks it. | `BlobHere`, `BlobBad` |
//! | `WantRecords`, `WantArchived` | Syncs with peers; reads the archive of the store. | records, `Compared`; `Archived` |
//! | `WakeAt` | Sets the only timer. | `Tick` |
//! | `Head`, `Confirmed`, `RoundChanged`, `Equivocation`, `Refused` | Tells watchers and operators. | none |
//! | `Succeeded` | Goes on with the successor of the model, and hands the open submissions over. | `HandedOver` |
//!
//! The other inputs come unasked: `Submission` and `TrainerHere` from trainers; records, `HeadClaim`, `Reachable` and `DelayMs`
//! from the mesh; `SealNow`, `MergeNow`, `Agree` and `Trust` from the operator. A driver, in short (the module `stage` has a whole one):
//!
//! ```text
//! let (mut machine, outputs) = Machine::new(spec, config, restored, clock.now());
//! carry_out(outputs);                                  // persist first; then sign, send, fetch, compute
//! for input in inputs { carry_out(machine.handle(input, clock.now())); }
//! ```
//!
//! The files:
//!
//! ```text
//! event      inputs and outputs: the alphabet
//! submission what a trainer handed in, and what became of it
//! types      plain types: settings, what a store gives back, what callers see
//! table/     what the machine holds; no file there knows the machine
//!   rules                                the spec with what follows from it, and this node's own settings
//!   history                              the records and the checkpoints that they make:
//!     ledger, orphans, ballots, vote         records held; records without known parents; who stands on what; the own vote
//!     tree, node, leaves, rank, chain        checkpoints, their ends, the order of heads, the head's branch by round
//!     convicted, proofs                      convicted nodes, by branch; the use of the held proofs
//!   intake                               what decides which records are taken in: queued, claims, shares
//!   search                               the search for a branch from below the horizon: taken_back
//!   open_round, closing                  the round on the head, and the sealing of it
//!   pacing                               what was measured of the others: attendance, paces
//!   fetching                             the work to verify checkpoints: blobs, want, pursuits, path, jobs
//!   submissions, trainers                what the trainers handed in; the trainers that a merge waits for
//!   comparison                           the comparison of records after a start
//!   consents                             the members' agreement to a change of members
//!   outbox, dirty                        outputs, durable ones first; the parts to bring in line after an input
//! machine    the machine, and the order in which it settles after an input
//! machine/   what it does, a subject a file
//!   contribution, seal, equivocation     taking records in: faults, bounds, proofs
//!   shares, naming                       limits on held seals that no other node names; the records that name a checkpoint
//!   head, pursuit, jobs, blobs           the greatest checkpoint as head, recomputing greater ones, fetching for them
//!   membership, deadline, sealer, late   the members a round waits for, how long, who seals it, the late work in it
//!   vote, fate                           the votes that a contribution carries; what became of a submission
//!   submissions                          from the trainers into one contribution per parent
//!   horizon, archive                     records that are forgotten; the head's branch below what is in memory
//!   succession                           the change of members: agreement, the end of the model, the successor
//!   comparison, condition                nothing is signed before records are compared; what an operator should know
//!   restore, view                        what a store gives back; what callers see
//!   invariants                           what holds after every input
//! promises/  a test for each promise of docs/reliability.md, on a stage (`stage`) that drives one machine
//! ```

mod event;
mod machine;
mod submission;
mod table;
mod types;

#[cfg(test)]
mod promises;
#[cfg(test)]
mod stage;

pub use event::{
    AggregateJob, EncodeItem, EncodeJob, Forgotten, FreshItem, Input, LateItem, Output, Persist, Refusal, Refused,
    Unsigned,
};
pub use machine::Machine;
pub use submission::{Submission, SubmissionState};
pub use types::{
    Archived, BaseError, ChangeInfo, CheckpointInfo, Comparing, Conditions, Config, ContributionInfo, Convicted,
    Handed, MembersPolicy, RecordId, Restored, Root, RoundInfo, Succession, Unsettled,
};
