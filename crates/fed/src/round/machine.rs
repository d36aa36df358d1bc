//! The round as a state machine: its state, and the order of its work after an input.

mod archive;
mod blobs;
mod comparison;
mod condition;
mod contribution;
mod deadline;
mod equivocation;
mod fate;
mod head;
mod horizon;
mod jobs;
mod late;
mod limits;
mod membership;
mod naming;
mod pursuit;
mod restore;
mod seal;
mod sealer;
mod shares;
mod submissions;
mod view;
mod vote;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::table::attendance::Attendance;
use super::table::ballots::Ballots;
use super::table::blobs::Blobs;
use super::table::chain::Chain;
use super::table::claims::Claims;
use super::table::comparison::Comparison;
use super::table::jobs::Jobs;
use super::table::ledger::Ledger;
use super::table::open_round::OpenRound;
use super::table::orphans::Orphans;
use super::table::outbox::Outbox;
use super::table::paces::Paces;
use super::table::path::Path;
use super::table::proof_use::ProofUse;
use super::table::pursuits::Pursuits;
use super::table::queued::Queued;
use super::table::shares::Shares;
use super::table::submissions::Submissions;
use super::table::taken_back::TakenBack;
use super::table::tree::Tree;
use super::{Config, Input, Output, Restored};
use crate::id::{CheckpointId, ContributionId, Instant, NodeId, ProofId, SpecId};
use crate::record::Spec;

/// State machine of one model on one node. [`Machine::handle`] takes an input and
/// answers with the outputs to carry out, in order.
///
/// The fields are the subjects of the files beside this one; each file adds the methods that concern its subject.
pub struct Machine {
    pub(super) spec: Spec,
    pub(super) spec_id: SpecId,
    /// Length of every update in bytes, which spec and codec fix. `None` if the codec is unknown here.
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
    /// Records that became welcome; they are worked off before any decision.
    pub(super) queue: VecDeque<Queued>,
    /// The checkpoints that list each contribution, also for contributions that are unknown here.
    pub(super) named: BTreeMap<ContributionId, BTreeSet<CheckpointId>>,
    /// The blobs needed to verify checkpoints that would be the head.
    pub(super) pursuits: Pursuits,
    /// The lowest proof held against an author.
    pub(super) proved: BTreeMap<NodeId, ProofId>,
    /// Number of held checkpoints that name each proof. A proof stays as long as they do.
    pub(super) named_proofs: BTreeMap<ProofId, usize>,
    pub(super) proof_use: ProofUse,
    /// Tombstones of checkpoints that are invalid for ever, with their rounds.
    pub(super) invalid: BTreeMap<CheckpointId, u64>,
    /// Invalid checkpoints by sealer, with parent and round.
    pub(super) refuted: BTreeMap<NodeId, BTreeMap<CheckpointId, (CheckpointId, u64)>>,
    pub(super) claims: Claims,
    pub(super) shares: Shares,
    /// Nodes that an operator trusts.
    pub(super) trusted: BTreeSet<NodeId>,
    pub(super) told_below_horizon: BTreeSet<NodeId>,
    /// Checkpoints that are verified according to the store, until their seals are read.
    pub(super) known_verified: BTreeSet<CheckpointId>,
    /// Round and id of an unknown checkpoint that a quorum stands on. While it is set, branches
    /// from below the horizon are let in to find it.
    pub(super) attested: Option<(u64, CheckpointId)>,
    /// The rounds of the archive that were read to find that checkpoint.
    pub(super) taken_back: TakenBack,
    /// The checkpoints that were let in to find it.
    pub(super) doubted: BTreeSet<CheckpointId>,
    pub(super) cached_path: Option<Path>,
    pub(super) told_confirmed: CheckpointId,
    /// The round up to which everything but the seals of the head's branch is forgotten.
    pub(super) horizon: u64,
    pub(super) delay_ms: u64,
    pub(super) now: Instant,
    /// True while the store is read back: its records were within bounds when they were written.
    pub(super) restoring: bool,
    pub(super) head_dirty: bool,
    pub(super) round_dirty: bool,
    pub(super) wants_dirty: bool,
    pub(super) chain_dirty: bool,
    pub(super) chain_broken: bool,
}

impl Machine {
    /// Makes a machine from what the store remembers. The outputs must be carried out like those of [`Machine::handle`].
    pub fn new(spec: Spec, config: Config, restored: Restored, now: Instant) -> (Self, Vec<Output>) {
        Self::restore(spec, config, restored, now)
    }

    /// Takes one input in and returns the outputs to carry out, in order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        // A monotonic clock that goes back is a mistake of the driver. The machine's time stands still instead.
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
            // Due work is found by the clock, after any input.
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

    /// Takes up waiting records and moves to the greatest head, until nothing moves any more. Each turn verifies or refutes a
    /// checkpoint or takes a record in, so the loop ends.
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

    /// Brings all parts in line after an input.
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
