//! The round as a state machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::archive::{Root, TakenBack};
use super::attendance::Attendance;
use super::ballots::Ballots;
use super::blobs::Blobs;
use super::chain::Chain;
use super::comparison::Comparison;
use super::condition::Convicted;
use super::deadline::{OpenRound, Paces};
use super::equivocation::ProofUse;
use super::head::Path;
use super::jobs::Jobs;
use super::ledger::Ledger;
use super::naming::Claims;
use super::orphans::Orphans;
use super::outbox::Outbox;
use super::pursuit::Pursuits;
use super::shares::Shares;
use super::submissions::Submissions;
use super::tree::Tree;
use super::{Input, Output, Submission, SubmissionState};
use crate::id::{BlobId, CheckpointId, ContributionId, Instant, NodeId, ProofId, SealId, SpecId};
use crate::record::{Contribution, Proof, Seal, Signed, Spec};

/// A node's own settings for one model. None of them makes a record valid or invalid.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Trainers to wait for before merging (a follower's are refused whatever this says).
    pub trainers: u32,
    /// How long before the round's deadline what is here is merged anyway.
    pub merge_margin_ms: u64,
    /// Rounds whose checkpoints stay below the newest settled one; `None` = all.
    pub keep_rounds: Option<u64>,
}

/// What a store remembers of a model, in any order.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// As persisted.
    pub contributions: Vec<Signed<Contribution>>,
    /// As persisted.
    pub seals: Vec<Signed<Seal>>,
    /// As persisted.
    pub proofs: Vec<Proof>,
    /// Checkpoints whose weights are here and right (checkpoint 0 included, once its blob is here).
    pub verified: BTreeSet<CheckpointId>,
    /// Submissions that are not final.
    pub submissions: Vec<(Submission, SubmissionState)>,
    /// Of the last [`Persist::Archive`](super::Persist::Archive) or `Unarchive`; checkpoint 0 when there was none.
    pub root: Option<Root>,
}

/// A record's name for sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum RecordId {
    Contribution(ContributionId),
    Seal(SealId),
    Proof(ProofId),
}

/// A checkpoint as a machine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CheckpointInfo {
    pub id: CheckpointId,
    pub round: u64,
    pub parent: Option<CheckpointId>,
    pub weights: BlobId,
    /// A quorum votes for it or for a descendant.
    pub confirmed: bool,
    /// The weights are here and right.
    pub verified: bool,
}

/// A contribution as a round shows it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ContributionInfo {
    pub id: ContributionId,
    /// `None`, and all below 0, once the contribution is forgotten: of old rounds the seal alone is kept.
    pub author: Option<NodeId>,
    pub samples: u64,
    pub fidelity: f32,
    pub bytes: u64,
    pub late: bool,
    /// Its blob is here and checked.
    pub here: bool,
}

impl ContributionInfo {
    /// Those that a seal lists and that are forgotten.
    pub(super) fn forgotten(id: ContributionId, late: bool) -> Self {
        Self {
            id,
            author: None,
            samples: 0,
            fidelity: 0.0,
            bytes: 0,
            late,
            here: false,
        }
    }
}

/// A round of the head's branch, or the open one.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct RoundInfo {
    pub round: u64,
    pub parent: CheckpointId,
    /// `None` while open.
    pub checkpoint: Option<CheckpointInfo>,
    pub sealers: Vec<NodeId>,
    pub contributions: Vec<ContributionInfo>,
    /// Expected, not in.
    pub missing: Vec<NodeId>,
    /// Members whose work does not count, as there is proof against them. Of the open round.
    pub excluded: Vec<NodeId>,
    pub deadline: Option<Instant>,
    pub losing_seals: Vec<(CheckpointId, NodeId)>,
}

/// Why a submission's base cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BaseError {
    #[error("base {0} is unknown here, or too old to be remembered: fetch the head and train from it")]
    Unknown(CheckpointId),
    #[error("base {base} is {behind} rounds behind, the spec takes at most {limit}: fetch the head and train from it")]
    Stale {
        base: CheckpointId,
        behind: u64,
        limit: u32,
    },
    #[error(
        "the weights of base {0} are not held here, not yet or no longer: fetch the head, which waits for it, and train from it"
    )]
    NotHeld(CheckpointId),
    #[error("this node has already contributed on base {0}: fetch the head (waiting for the next) and train from it")]
    Contributed(CheckpointId),
    #[error(
        "base {base} is on a branch that lost: most members stand on checkpoint {confirmed}; fetch the head and train from it"
    )]
    Conflicts {
        base: CheckpointId,
        confirmed: CheckpointId,
    },
    #[error("this node is not a member of the model: it may fetch, not submit")]
    NotMember,
    #[error("{0}")]
    Convicted(Convicted),
}

/// A record that waits to be taken in.
#[derive(Debug)]
pub(super) enum Queued {
    Contribution(Signed<Contribution>),
    Seal(Signed<Seal>),
}

/// Drives one model on one node: `handle(input, now)` answers with what to do, in order.
///
/// The fields are the nouns of the files beside this one; each file adds the methods that concern its noun.
pub struct Machine {
    pub(super) spec: Spec,
    pub(super) spec_id: SpecId,
    /// Length of every update: spec and codec fix it. `None` when the codec is unknown here.
    pub(super) update_bytes: Option<u64>,
    pub(super) zero: CheckpointId,
    pub(super) config: Config,
    pub(super) is_member: bool,
    pub(super) is_list: bool,
    pub(super) k: usize,
    pub(super) quorum: usize,
    pub(super) ledger: Ledger,
    pub(super) ballots: Ballots,
    pub(super) orphans: Orphans,
    pub(super) tree: Tree,
    pub(super) chain: Chain,
    pub(super) blobs: Blobs,
    pub(super) jobs: Jobs,
    pub(super) attendance: Attendance<NodeId>,
    pub(super) paces: Paces,
    pub(super) open: OpenRound,
    pub(super) submissions: Submissions,
    pub(super) comparison: Comparison,
    pub(super) out: Outbox,
    /// Records that something made welcome; worked off before anything is decided.
    pub(super) queue: VecDeque<Queued>,
    /// Checkpoints that list a contribution, known or not.
    pub(super) named: BTreeMap<ContributionId, BTreeSet<CheckpointId>>,
    /// Blobs needed to verify what would be the head.
    pub(super) pursuits: Pursuits,
    /// The lowest proof held against an author.
    pub(super) proved: BTreeMap<NodeId, ProofId>,
    /// How many held checkpoints name each proof: it stays as long as they do.
    pub(super) named_proofs: BTreeMap<ProofId, usize>,
    pub(super) proof_use: ProofUse,
    /// Tombstones of checkpoints that cannot be, with their rounds.
    pub(super) invalid: BTreeMap<CheckpointId, u64>,
    /// Invalid checkpoints by sealer, with parent and round.
    pub(super) refuted: BTreeMap<NodeId, BTreeMap<CheckpointId, (CheckpointId, u64)>>,
    pub(super) claims: Claims,
    pub(super) shares: Shares,
    /// Nodes whose word an operator takes.
    pub(super) trusted: BTreeSet<NodeId>,
    pub(super) told_below_horizon: BTreeSet<NodeId>,
    /// Checkpoints that the store says are verified, until their seals are read.
    pub(super) known_verified: BTreeSet<CheckpointId>,
    /// An unknown checkpoint (and its round) that a quorum stands on: branches from below the horizon are let in to find it.
    pub(super) attested: Option<(u64, CheckpointId)>,
    /// What of the archive was read to that end.
    pub(super) taken_back: TakenBack,
    /// What was let in that way.
    pub(super) doubted: BTreeSet<CheckpointId>,
    pub(super) cached_path: Option<Path>,
    pub(super) told_confirmed: CheckpointId,
    /// The round up to which everything but the head branch's seals is forgotten.
    pub(super) horizon: u64,
    pub(super) delay_ms: u64,
    pub(super) now: Instant,
    /// The store is being read back: what it holds was within bounds when it was written.
    pub(super) restoring: bool,
    pub(super) head_dirty: bool,
    pub(super) round_dirty: bool,
    pub(super) wants_dirty: bool,
    pub(super) chain_dirty: bool,
    pub(super) chain_broken: bool,
}

impl Machine {
    /// From what the store remembers; the outputs are to be carried out like any other's.
    pub fn new(spec: Spec, config: Config, restored: Restored, now: Instant) -> (Self, Vec<Output>) {
        Self::restore(spec, config, restored, now)
    }

    /// Takes one input in and answers with what to do, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        // A monotonic clock that goes back is a driver's mistake; time stands still instead.
        self.now = self.now.max(now);
        let due = self.out.is_due(self.now);
        self.head_dirty |= due;
        self.round_dirty |= due;
        self.dispatch(input);
        self.settle();
        self.out.drain()
    }

    fn dispatch(&mut self, input: Input) {
        match input {
            Input::Submission(submission) => self.take_submission(submission),
            Input::TrainerHere(trainer) => self.trainer_here(&trainer),
            Input::Contribution(signed) => self.take_contribution(signed),
            Input::Seal(signed) => self.take_seal(signed),
            Input::Archived(rounds) => self.take_archived(rounds),
            Input::HeadClaim { by, head } => self.claim(by, head),
            Input::Compared(with) => self.compared(with),
            Input::Reachable(peers) => self.reachable(&peers),
            Input::Proof(proof) => self.take_proof(&proof),
            Input::BlobHere { blob, update } => self.blob_here(blob, update),
            Input::BlobBad { blob, update } => self.blob_bad(blob, update),
            Input::Encoded {
                parent,
                update,
                update_bytes,
                samples,
                fidelity,
            } => self.encoded(&parent, update, update_bytes, samples, fidelity),
            Input::EncodeFailed {
                parent,
                submissions,
                reason,
            } => self.encode_failed(&parent, &submissions, &reason),
            Input::SignedContribution(signed) => self.signed_contribution(signed),
            Input::SignedSeal(signed) => self.own_seal(signed),
            Input::Aggregated { proposal, result } => self.aggregated(proposal, result),
            Input::AggregateFailed { proposal } => self.aggregate_failed(proposal),
            Input::SealNow => {
                self.open.seal_now = true;
                self.round_dirty = true;
            }
            Input::MergeNow => {
                self.submissions.merge_now = true;
                self.round_dirty = true;
            }
            Input::DelayMs(ms) => {
                self.delay_ms = ms;
                self.round_dirty = true;
            }
            Input::Trust(nodes) => self.trust(nodes),
            // What is due is found by the clock, after any input.
            Input::Tick => {}
        }
    }

    pub(super) fn work_off_queue(&mut self) {
        while let Some(record) = self.queue.pop_front() {
            match record {
                Queued::Contribution(signed) => self.take_contribution(signed),
                Queued::Seal(signed) => self.take_seal(signed),
            }
        }
    }

    /// Takes up what was waiting and stands on the greatest head, until nothing moves any more. Each turn verifies or
    /// refutes a checkpoint or takes a record in, so it ends.
    pub(super) fn settle_head(&mut self) {
        loop {
            self.work_off_queue();
            self.review_names();
            if !std::mem::take(&mut self.head_dirty) {
                break;
            }
            self.choose_head();
        }
    }

    /// Brings everything in line after an input.
    pub(super) fn settle(&mut self) {
        self.settle_head();
        if std::mem::take(&mut self.round_dirty) && self.may_sign() {
            self.merge();
            self.close_round();
        }
        self.tell_confirmed();
        if std::mem::take(&mut self.chain_dirty) {
            self.refresh_submissions();
            if self.prune() {
                self.refresh_submissions();
            }
            self.archive();
            self.settle_head();
        }
        self.forget_unused_proofs();
        self.refresh_wants();
        self.set_timer();
    }

    fn tell_confirmed(&mut self) {
        let confirmed = self.confirmed_head().id;
        if confirmed != self.told_confirmed {
            self.told_confirmed = confirmed;
            self.chain_dirty = true;
            if confirmed != self.zero {
                self.out.act(Output::Confirmed(confirmed));
            }
        }
    }

    fn set_timer(&mut self) {
        let merges = self.submissions.waits_on(&self.chain.head());
        let closes = self.is_member && self.open.closing.is_none();
        let times = [
            self.merge_at().filter(|_| merges),
            self.deadline().filter(|_| closes),
            self.next_seal_turn(),
            self.jobs.next_retry(self.now),
            self.submissions.next_retry(self.now),
            self.comparison_ends(),
        ];
        let next = times.into_iter().flatten().filter(|at| *at > self.now).min();
        self.out.wake(next);
    }
}
