//! This node's submissions: from the trainers into a contribution, and what became of them.

use crate::id::{BlobId, CheckpointId, ContributionId, SubmissionId};
use crate::record::{Contribution, Report, SAMPLES_MAX, Signed};
use crate::round::machine::Machine;
use crate::round::machine::limits::RETRY_MS;
use crate::round::table::node::Node;
use crate::round::{BaseError, EncodeItem, EncodeJob, Output, Persist, Submission, SubmissionState, Unsigned};
use crate::strategy;

/// Maximum number of final submissions whose states are still answered from memory; the store has them all.
const FINAL_MAX: usize = 1_024;

impl Machine {
    /// Checks if a submission on this base can be taken. The [`BaseError`] says why not.
    pub(in crate::round) fn base_fault(&self, base: &CheckpointId) -> Result<(), BaseError> {
        let node = self.history.tree.get(base).filter(|_| self.rules.is_member);
        match node {
            Some(Node { end: Some(round), .. }) => Err(BaseError::Complete(*round)),
            Some(node) if !self.knows_end_at(node) => Err(BaseError::NotHeld(*base)),
            _ => self.signing_fault(base),
        }
    }

    /// Checks if this node can contribute on this base, be it work or a vote.
    pub(in crate::round) fn signing_fault(&self, base: &CheckpointId) -> Result<(), BaseError> {
        if !self.rules.is_member {
            return Err(BaseError::NotMember);
        }
        if let Some(convicted) = self.history.own_conviction(&self.rules) {
            return Err(BaseError::Convicted(convicted));
        }
        let node = self.history.tree.get(base).ok_or(BaseError::Unknown(*base))?;
        if self.submissions.own.contains_key(base) {
            return Err(BaseError::Contributed(*base));
        }
        let behind = self.history.chain.round().saturating_sub(node.round);
        let limit = self.rules.spec.rounds.max_staleness;
        if behind > u64::from(limit) {
            let base = *base;
            return Err(BaseError::Stale { base, behind, limit });
        }
        if let Some(confirmed) = self.history.confirmed_against(&self.rules, base) {
            let base = *base;
            return Err(BaseError::Conflicts { base, confirmed });
        }
        if !node.verified || !self.fetching.blobs.are_here(&node.content) {
            return Err(BaseError::NotHeld(*base));
        }
        Ok(())
    }

    /// Notes that a trainer submits, or tries to.
    pub(in crate::round) fn trainer_here(&mut self, trainer: &str) {
        let round = self.history.chain.round() + 1;
        self.submissions.trainers.heard(trainer, round);
    }

    pub(in crate::round) fn take_submission(&mut self, submission: Submission) {
        let (id, base) = (submission.id, submission.base);
        if self.submissions.states.contains_key(&id) {
            return;
        }
        let trainer = submission.trainer.clone();
        self.trainer_here(&trainer);
        self.submissions.known.insert(id, submission);
        if let Err(error) = self.base_fault(&base) {
            self.set_state(
                id,
                SubmissionState::Rejected {
                    reason: error.to_string(),
                },
            );
            return;
        }
        self.submissions.states.insert(id, SubmissionState::Pending);
        let same = |other: &&SubmissionId| self.submissions.known.get(*other).is_some_and(|s| s.trainer == trainer);
        let older = self
            .submissions
            .pending
            .get(&base)
            .and_then(|ids| ids.iter().find(same))
            .copied();
        if let Some(older) = older {
            self.unpend(&base, &older);
            let reason = format!("trainer {trainer:?} handed in another one on base {base}: submission {id}");
            self.set_state(older, SubmissionState::Superseded { reason });
        }
        self.submissions.pending.entry(base).or_default().insert(id);
        if base == self.history.chain.head() {
            let now = self.now;
            self.open.submitted.get_or_insert(now);
        }
        self.dirty.round = true;
    }

    /// Notes what became of a submission that the successor of the model took over, or could not.
    pub(in crate::round) fn hand_back(&mut self, id: SubmissionId, state: SubmissionState) {
        let Some(base) = self.submissions.known.get(&id).map(|submission| submission.base) else {
            return;
        };
        if self.submissions.states.get(&id).is_some_and(|held| !held.is_final()) {
            self.unpend(&base, &id);
            let merged = self.submissions.merged.values_mut();
            for held in merged.chain(self.submissions.encoding.values_mut()) {
                held.retain(|other| *other != id);
            }
            self.set_state(id, state);
        }
    }

    fn unpend(&mut self, base: &CheckpointId, id: &SubmissionId) {
        if let Some(ids) = self.submissions.pending.get_mut(base) {
            ids.remove(id);
            if ids.is_empty() {
                self.submissions.pending.remove(base);
            }
        }
    }

    /// Notes and persists a submission's [`SubmissionState`], if it is news.
    pub(in crate::round) fn set_state(&mut self, id: SubmissionId, state: SubmissionState) {
        if self.submissions.states.get(&id) == Some(&state) {
            return;
        }
        if state.is_final() {
            self.submissions.finals.push_back(id);
        }
        self.submissions.states.insert(id, state.clone());
        self.out.persist(Persist::Submission(id, state));
        while self.submissions.finals.len() > FINAL_MAX {
            if let Some(old) = self.submissions.finals.pop_front()
                && self.submissions.states.get(&old).is_some_and(SubmissionState::is_final)
            {
                self.submissions.states.remove(&old);
                self.submissions.known.remove(&old);
                self.submissions.unusable.remove(&old);
            }
        }
    }

    fn reject_pending(&mut self, base: &CheckpointId, reason: &str) {
        for id in self.submissions.pending.remove(base).unwrap_or_default() {
            let reason = reason.to_owned();
            self.set_state(id, SubmissionState::Rejected { reason });
        }
    }

    /// Merges the due submissions: on the head when the trainers are in or the deadline nears, on older bases at once. A model
    /// that ends takes no more work: its successor does.
    pub(in crate::round) fn merge(&mut self) {
        if self.is_ending() {
            return;
        }
        let head = self.history.chain.head();
        let bases: Vec<_> = self.submissions.pending.keys().copied().collect();
        for base in bases {
            if self.submissions.encoding.contains_key(&base) {
                continue;
            }
            if let Err(error) = self.base_fault(&base) {
                // Weights of the head that vanished are being fetched again.
                if !(matches!(error, BaseError::NotHeld(_)) && base == head) {
                    self.reject_pending(&base, &error.to_string());
                }
                continue;
            }
            let waits = self.submissions.is_resting(&base, self.now);
            let now = self.open.seal_now || self.submissions.merge_now;
            let due = now || self.merge_at().is_some_and(|at| at <= self.now);
            let round = self.history.chain.round() + 1;
            if waits || (base == head && !due && !self.submissions.are_all_in(&base, round)) {
                continue;
            }
            if base == head {
                self.submissions.note_trainers(&base, round);
            }
            self.start_encode(&base);
        }
    }

    pub(in crate::round) fn start_encode(&mut self, base: &CheckpointId) {
        let Some(weights) = self.history.tree.get(base).map(|n| n.content.weights) else {
            return;
        };
        let ids: Vec<_> = self
            .submissions
            .pending
            .remove(base)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let item = |id: &SubmissionId| {
            let known = self.submissions.known.get(id);
            EncodeItem {
                id: *id,
                samples: known.map_or(1, |s| s.samples),
                steps: known.and_then(|s| s.report.steps),
            }
        };
        let submissions = ids.iter().map(item).collect();
        self.submissions.retry.remove(base);
        self.submissions.encoding.insert(*base, ids);
        self.out.act(Output::Encode(EncodeJob {
            parent: *base,
            weights,
            submissions,
        }));
    }

    /// Handles a failed merge: the submissions at fault are rejected, and the others wait for a second try.
    pub(in crate::round) fn encode_failed(&mut self, parent: &CheckpointId, at_fault: &[SubmissionId], reason: &str) {
        let Some(ids) = self.submissions.encoding.remove(parent) else {
            return;
        };
        for id in ids {
            if at_fault.contains(&id) {
                self.submissions.unusable.insert(id);
                self.submissions.unusable_count += 1;
                let reason = reason.to_owned();
                self.set_state(id, SubmissionState::Rejected { reason });
            } else {
                self.submissions.pending.entry(*parent).or_default().insert(id);
            }
        }
        if at_fault.is_empty() {
            let again = self.now.after_ms(RETRY_MS);
            self.submissions.retry.insert(*parent, again);
        }
        self.dirty.round = true;
    }

    /// Asks for the signature of a contribution once its coded update is stored. No parent ever gets a second signature.
    pub(in crate::round) fn encoded(
        &mut self,
        parent: &CheckpointId,
        (update, bytes): (BlobId, u64),
        (samples, releases): (u64, u64),
        fidelity: f32,
    ) {
        let Some(report) = self.submissions.encoding.get(parent).map(|ids| self.report_of(ids)) else {
            return;
        };
        if self.is_ending() {
            return self.encode_failed(parent, &[], "");
        }
        let fault = self
            .signing_fault(parent)
            .err()
            .filter(|error| !matches!(error, BaseError::NotHeld(_)));
        if let Some(fault) = fault {
            return self.reject_encoding(parent, &fault.to_string());
        }
        let Some(round) = self.history.tree.get(parent).map(|n| n.round) else {
            return;
        };
        let source = self.vote_for(parent);
        self.out.act(Output::Sign(Unsigned::Contribution(Contribution {
            spec: self.rules.spec_id,
            parent: *parent,
            round: round + 1,
            author: self.rules.config.node,
            samples: samples.clamp(1, SAMPLES_MAX),
            update,
            update_bytes: bytes,
            fidelity: if fidelity.is_nan() {
                0.0
            } else {
                fidelity.clamp(0.0, 1.0)
            },
            source,
            report,
            releases,
        })));
    }

    /// Returns what the trainers of these submissions say together.
    fn report_of(&self, ids: &[SubmissionId]) -> Report {
        if ids.is_empty() {
            return strategy::closing_report(&self.rules.spec);
        }
        let known = ids.iter().filter_map(|id| self.submissions.known.get(id));
        let reports = known.map(|submission| (submission.samples, &submission.report));
        Report::merged(reports, self.rules.spec.metrics.len())
    }

    /// Takes in this node's own contribution, now signed. It is durable with the states of its submissions before it is sent.
    pub(in crate::round) fn signed_contribution(&mut self, signed: Signed<Contribution>) {
        let c = &signed.record;
        let (id, parent, update) = (c.id(), c.parent, c.update);
        if c.author != self.rules.config.node || self.submissions.own.contains_key(&parent) {
            return;
        }
        self.submissions.signed = Some(id);
        self.take_contribution(signed.clone());
        self.submissions.signed = None;
        if self.history.ledger.contribution(&id).is_some() {
            if self.fetching.blobs.updates.set_here(update) {
                self.heard(&id);
            }
            self.out.act(Output::SendContribution(signed));
        } else {
            // The base was dropped while the contribution was signed. The contribution never left this node.
            self.history.orphans.take_contribution(&id);
            self.reject_encoding(&parent, &BaseError::Unknown(parent).to_string());
        }
    }

    /// Handles a contribution of this node that is held now: it was just signed, or came back from the store or a peer. In the
    /// latter case it holds none of the submissions that wait here.
    pub(in crate::round) fn own_contribution(&mut self, id: ContributionId, c: &Contribution) {
        self.submissions.own.entry(c.parent).or_insert(id);
        if self.submissions.signed == Some(id) {
            let ids = self.submissions.encoding.remove(&c.parent).unwrap_or_default();
            for submission in &ids {
                self.set_state(*submission, SubmissionState::Merged { contribution: id });
            }
            self.submissions.merged.insert(id, ids);
        }
        let reason = BaseError::Contributed(c.parent).to_string();
        self.reject_encoding(&c.parent, &reason);
        self.reject_pending(&c.parent, &reason);
        self.dirty.chain = true;
    }

    fn reject_encoding(&mut self, base: &CheckpointId, reason: &str) {
        // Submissions that came for this base meanwhile wait for the merge to end, with or without success.
        self.dirty.round = true;
        for id in self.submissions.encoding.remove(base).unwrap_or_default() {
            let reason = reason.to_owned();
            self.set_state(id, SubmissionState::Rejected { reason });
        }
    }

    /// Puts back the state of a submission from the store.
    pub(in crate::round) fn restore_submission(&mut self, submission: Submission, state: SubmissionState) {
        let (id, base) = (submission.id, submission.base);
        let own = self.submissions.own.get(&base).copied();
        self.submissions.known.insert(id, submission);
        self.submissions.states.insert(id, state.clone());
        match (state, own) {
            (SubmissionState::Rejected { .. } | SubmissionState::Superseded { .. }, _) => {}
            (SubmissionState::Pending, _) => {
                self.submissions.pending.entry(base).or_default().insert(id);
            }
            (_, Some(contribution)) => self.submissions.merged.entry(contribution).or_default().push(id),
            // The contribution is gone with the horizon. A sealed submission keeps the state
            // that was said last; any other came to nothing.
            (SubmissionState::Sealed { .. }, None) => {}
            (SubmissionState::Merged { .. } | SubmissionState::Carried { .. }, None) => {
                let reason =
                    format!("its contribution on base {base} is no longer held: it was in no checkpoint in time");
                self.set_state(id, SubmissionState::Rejected { reason });
            }
        }
    }
}
