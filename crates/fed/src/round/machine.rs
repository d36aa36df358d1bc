//! The round as a state machine: its state, and the order of its work after an input.

mod archive;
mod blobs;
mod closing;
mod comparison;
mod condition;
mod contribution;
mod deadline;
mod end;
mod equivocation;
mod fate;
mod head;
mod horizon;
mod invariants;
mod jobs;
mod late;
mod limits;
mod membership;
mod naming;
mod pursuit;
mod restore;
mod seal;
mod shares;
mod submissions;
mod succession;
mod view;
mod vote;

use super::table::comparison::Comparison;
use super::table::consents::Consents;
use super::table::dirty::Dirty;
use super::table::fetching::Fetching;
use super::table::history::History;
use super::table::intake::Intake;
use super::table::open_round::OpenRound;
use super::table::outbox::Outbox;
use super::table::pacing::Pacing;
use super::table::queued::Queued;
use super::table::rules::Rules;
use super::table::search::Search;
use super::table::submissions::Submissions;
use super::{Config, Input, Output, Restored};
use crate::id::Instant;
use crate::record::Spec;

/// State machine of one model on one node. [`Machine::handle`] takes an input and
/// answers with the outputs to carry out, in order.
///
/// Each field is a group of tables with one responsibility; the files beside this one add the methods, a subject each.
pub struct Machine {
    pub(super) rules: Rules,
    pub(super) history: History,
    pub(super) intake: Intake,
    pub(super) search: Search,
    pub(super) open: OpenRound,
    pub(super) pacing: Pacing,
    pub(super) fetching: Fetching,
    pub(super) submissions: Submissions,
    pub(super) comparison: Comparison,
    pub(super) consents: Consents,
    pub(super) out: Outbox,
    pub(super) dirty: Dirty,
    /// The time of the last input; it never goes back.
    pub(super) now: Instant,
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
        self.dirty.head |= due;
        self.dirty.round |= due;
        self.dispatch(input);
        self.settle();
        debug_assert_eq!(self.check_cheap_invariants(), Ok(()));
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
            Input::Consent(signed) => self.take_consent(signed),
            Input::Agree(change) => self.agree(change),
            Input::BlobHere { blob, role } => self.blob_here(blob, role),
            Input::BlobBad { blob, role } => self.blob_bad(blob, role),
            Input::Encoded {
                parent,
                update,
                update_bytes,
                samples,
                fidelity,
                releases,
            } => {
                let counts = (samples, releases);
                self.encoded(&parent, (update, update_bytes), counts, fidelity);
            }
            Input::EncodeFailed {
                parent,
                submissions,
                reason,
            } => self.encode_failed(&parent, &submissions, &reason),
            Input::SignedContribution(signed) => self.signed_contribution(signed),
            Input::SignedSeal(signed) => self.own_seal(signed),
            Input::SignedConsent(signed) => self.signed_consent(signed),
            Input::HandedOver(fates) => fates.into_iter().for_each(|(id, state)| self.hand_back(id, state)),
            Input::Aggregated { proposal, result } => self.aggregated(proposal, result),
            Input::AggregateFailed { proposal } => self.aggregate_failed(proposal),
            Input::SealNow => {
                self.open.seal_now = true;
                self.dirty.round = true;
            }
            Input::MergeNow => {
                self.submissions.merge_now = true;
                self.dirty.round = true;
            }
            Input::DelayMs(ms) => {
                self.pacing.delay_ms = ms;
                self.dirty.round = true;
            }
            Input::Trust(nodes) => self.trust(nodes),
            // Due work is found by the clock, after any input.
            Input::Tick => {}
        }
    }

    pub(super) fn work_off_queue(&mut self) {
        while let Some(record) = self.intake.queue.pop_front() {
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
            if !std::mem::take(&mut self.dirty.head) {
                break;
            }
            self.choose_head();
        }
    }

    /// Brings all parts in line after an input.
    pub(super) fn settle(&mut self) {
        self.settle_head();
        if std::mem::take(&mut self.dirty.round) && self.may_sign() {
            self.merge();
            self.vote_at_end();
            self.close_round();
        }
        self.settle_succession();
        self.tell_confirmed();
        if std::mem::take(&mut self.dirty.chain) {
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
        // A vote may settle a round that was confirmed long before.
        let settled = self.history.settled_round();
        self.dirty.chain |= std::mem::replace(&mut self.out.seen_settled, settled) != settled;
        let confirmed = self.confirmed_head().id;
        if confirmed != self.out.told_confirmed {
            self.out.told_confirmed = confirmed;
            self.dirty.chain = true;
            if confirmed != self.rules.zero {
                self.out.act(Output::Confirmed(confirmed));
            }
        }
    }

    fn set_timer(&mut self) {
        let merges = self.submissions.waits_on(&self.history.chain.head());
        let closes = self.rules.is_member && self.open.closing.is_none();
        let times = [
            self.merge_at().filter(|_| merges),
            self.deadline().filter(|_| closes),
            self.next_seal_turn(),
            self.fetching.jobs.next_retry(self.now),
            self.submissions.next_retry(self.now),
            self.comparison_ends(),
        ];
        let next = times.into_iter().flatten().filter(|at| *at > self.now).min();
        self.out.wake(next);
    }
}
