//! This node's submissions: from the trainers' hands into a contribution, and what became of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::jobs::RETRY_MS;
use super::machine::{BaseError, Machine};
use super::{EncodeJob, Output, Persist, Submission, SubmissionState, Unsigned};
use crate::id::{BlobId, CheckpointId, ContributionId, Instant, SubmissionId};
use crate::record::{Contribution, SAMPLES_MAX, Signed};

/// Final submissions whose states are still answered from memory; the store has them all.
const FINAL_MAX: usize = 1_024;

/// A vote for a checkpoint, by rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vote {
    /// The checkpoint's.
    target: u64,
    /// The newest one below it that was known as confirmed.
    source: u64,
}

/// The submissions that are not final, and the last ones that became so.
#[derive(Debug, Default)]
pub(super) struct Submissions {
    known: BTreeMap<SubmissionId, Submission>,
    states: BTreeMap<SubmissionId, SubmissionState>,
    /// Not merged yet, by base.
    pending: BTreeMap<CheckpointId, BTreeSet<SubmissionId>>,
    /// Being merged: what the job (and then the envelope) holds, by base.
    encoding: BTreeMap<CheckpointId, Vec<SubmissionId>>,
    /// The contribution that is being taken in was signed just now.
    signed: Option<ContributionId>,
    /// This node's contributions, by parent: never two.
    own: BTreeMap<CheckpointId, ContributionId>,
    /// What each live contribution of this node holds.
    merged: BTreeMap<ContributionId, Vec<SubmissionId>>,
    /// The highest vote given, target and source each.
    last_vote: Option<Vote>,
    retry: BTreeMap<CheckpointId, Instant>,
    finals: VecDeque<SubmissionId>,
    /// Trainers waited for: the configured number; after a merge without all of them only as many as came, until more come.
    wait_for: usize,
    /// No more trainers are waited for: the node is about to stop.
    pub merge_now: bool,
}

impl Submissions {
    pub fn new(trainers: u32) -> Self {
        Self {
            wait_for: trainers.max(1) as usize,
            ..Self::default()
        }
    }

    pub fn states(&self) -> &BTreeMap<SubmissionId, SubmissionState> {
        &self.states
    }

    pub fn own(&self, parent: &CheckpointId) -> Option<ContributionId> {
        self.own.get(parent).copied()
    }

    /// Whether a submission waits on this base.
    pub fn waits_on(&self, base: &CheckpointId) -> bool {
        self.pending.contains_key(base)
    }

    /// Bases that submissions wait on or are being merged on: their weights are needed.
    pub fn bases(&self) -> impl Iterator<Item = &CheckpointId> {
        self.pending.keys().chain(self.encoding.keys())
    }

    /// When a merge that failed may be tried again.
    pub fn next_retry(&self, now: Instant) -> Option<Instant> {
        self.retry.values().filter(|at| **at > now).min().copied()
    }

    /// A contribution was forgotten.
    pub fn forget(&mut self, id: &ContributionId, parent: &CheckpointId) {
        if self.own.get(parent) == Some(id) {
            self.own.remove(parent);
        }
    }
}

impl Machine {
    /// Whether a submission on this base can be taken.
    pub(super) fn base_fault(&self, base: &CheckpointId) -> Result<(), BaseError> {
        if !self.is_member {
            return Err(BaseError::NotMember);
        }
        let node = self.tree.get(base).ok_or(BaseError::Unknown(*base))?;
        if self.submissions.own.contains_key(base) {
            return Err(BaseError::Contributed(*base));
        }
        let behind = self.chain.round().saturating_sub(node.round);
        let limit = self.spec.rounds.max_staleness;
        if behind > u64::from(limit) {
            let base = *base;
            return Err(BaseError::Stale { base, behind, limit });
        }
        if let Some(confirmed) = self.confirmed_against(base) {
            let base = *base;
            return Err(BaseError::Conflicts { base, confirmed });
        }
        if !node.verified || !self.blobs.weights.is_here(&node.result) {
            return Err(BaseError::NotHeld(*base));
        }
        Ok(())
    }

    pub(super) fn take_submission(&mut self, submission: Submission) {
        let (id, base) = (submission.id, submission.base);
        if self.submissions.states.contains_key(&id) {
            return;
        }
        let trainer = submission.trainer.clone();
        self.submissions.known.insert(id, submission);
        if let Err(error) = self.base_fault(&base) {
            self.set_state(
                id,
                SubmissionState::Rejected {
                    reason: error.to_string(),
                },
            );
            if matches!(error, BaseError::Contributed(_)) {
                // A trainer too late for the merge is alive: the next merge waits for it.
                self.submissions.wait_for = self.config.trainers.max(1) as usize;
            }
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
        if base == self.chain.head() {
            let now = self.now;
            self.open.submitted.get_or_insert(now);
        }
        self.round_dirty = true;
    }

    fn unpend(&mut self, base: &CheckpointId, id: &SubmissionId) {
        if let Some(ids) = self.submissions.pending.get_mut(base) {
            ids.remove(id);
            if ids.is_empty() {
                self.submissions.pending.remove(base);
            }
        }
    }

    /// Notes and persists a submission's state, where it is news.
    pub(super) fn set_state(&mut self, id: SubmissionId, state: SubmissionState) {
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
            }
        }
    }

    fn reject_pending(&mut self, base: &CheckpointId, reason: &str) {
        for id in self.submissions.pending.remove(base).unwrap_or_default() {
            let reason = reason.to_owned();
            self.set_state(id, SubmissionState::Rejected { reason });
        }
    }

    /// Merges what is due: on the head when the trainers are in or the deadline nears, on older bases at once.
    pub(super) fn merge(&mut self) {
        let head = self.chain.head();
        let bases: Vec<_> = self.submissions.pending.keys().copied().collect();
        for base in bases {
            if self.submissions.encoding.contains_key(&base) {
                continue;
            }
            if let Err(error) = self.base_fault(&base) {
                // Weights that vanished are being fetched again.
                if !(matches!(error, BaseError::NotHeld(_)) && base == head) {
                    self.reject_pending(&base, &error.to_string());
                }
                continue;
            }
            let waits = self.submissions.retry.get(&base).is_some_and(|at| *at > self.now);
            let count = self.submissions.pending.get(&base).map_or(0, BTreeSet::len);
            let all = count >= self.submissions.wait_for;
            let now = self.open.seal_now || self.submissions.merge_now;
            let due = now || self.merge_at().is_some_and(|at| at <= self.now);
            if waits || (base == head && !all && !due) {
                continue;
            }
            if base == head && !all {
                self.submissions.wait_for = count.max(1);
            } else if count > self.submissions.wait_for {
                self.submissions.wait_for = count.min(self.config.trainers.max(1) as usize);
            }
            self.start_encode(&base);
        }
    }

    fn start_encode(&mut self, base: &CheckpointId) {
        let Some(weights) = self.tree.get(base).map(|n| n.result) else {
            return;
        };
        let ids: Vec<_> = self
            .submissions
            .pending
            .remove(base)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let samples = |id: &SubmissionId| self.submissions.known.get(id).map_or(1, |s| s.samples);
        let submissions = ids.iter().map(|id| (*id, samples(id))).collect();
        self.submissions.retry.remove(base);
        self.submissions.encoding.insert(*base, ids);
        self.out.act(Output::Encode(EncodeJob {
            parent: *base,
            weights,
            submissions,
        }));
    }

    /// Those at fault are rejected; the others wait for a second try.
    pub(super) fn encode_failed(&mut self, parent: &CheckpointId, at_fault: &[SubmissionId], reason: &str) {
        let Some(ids) = self.submissions.encoding.remove(parent) else {
            return;
        };
        for id in ids {
            if at_fault.contains(&id) {
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
        self.round_dirty = true;
    }

    /// The coded update is stored: asks for the one signature that this parent will ever get.
    pub(super) fn encoded(&mut self, parent: &CheckpointId, update: BlobId, bytes: u64, samples: u64, fidelity: f32) {
        if !self.submissions.encoding.contains_key(parent) {
            return;
        }
        let fault = self
            .base_fault(parent)
            .err()
            .filter(|error| !matches!(error, BaseError::NotHeld(_)));
        if let Some(fault) = fault {
            return self.reject_encoding(parent, &fault.to_string());
        }
        let Some(round) = self.tree.get(parent).map(|n| n.round) else {
            return;
        };
        let source = self.vote_for(parent);
        self.out.act(Output::Sign(Unsigned::Contribution(Contribution {
            spec: self.spec_id,
            parent: *parent,
            round: round + 1,
            author: self.config.node,
            samples: samples.clamp(1, SAMPLES_MAX),
            update,
            update_bytes: bytes,
            fidelity: if fidelity.is_nan() {
                0.0
            } else {
                fidelity.clamp(0.0, 1.0)
            },
            source,
        })));
    }

    /// This node's vote for a checkpoint: the newest round below it, on its branch, that is known as confirmed; `None` where a
    /// vote would contradict an earlier one. Votes go up: a node votes for at most one checkpoint of a round, and names no
    /// source below one that it named before. So two branches never both settle a round (docs/adr/0007).
    fn vote_for(&mut self, checkpoint: &CheckpointId) -> Option<u64> {
        let node = self.tree.get(checkpoint)?;
        let parent = self.tree.get(&node.parent?)?;
        let vote = Vote {
            target: node.round,
            source: parent.confirmed,
        };
        let last = self.submissions.last_vote;
        if last.is_some_and(|last| vote.target <= last.target || vote.source < last.source) {
            return None;
        }
        self.submissions.last_vote = Some(vote);
        Some(vote.source)
    }

    /// A contribution of this node came back from the store or from a peer: its vote was given.
    fn remember_vote(&mut self, c: &Contribution) {
        let Some(source) = c.source else { return };
        let target = c.round.saturating_sub(1);
        let last = self.submissions.last_vote.get_or_insert(Vote { target, source });
        last.target = last.target.max(target);
        last.source = last.source.max(source);
    }

    /// This node's own contribution, signed: durable with its submissions' states, then sent.
    pub(super) fn signed_contribution(&mut self, signed: Signed<Contribution>) {
        let c = &signed.record;
        let (id, parent, update) = (c.id(), c.parent, c.update);
        if c.author != self.config.node || self.submissions.own.contains_key(&parent) {
            return;
        }
        self.submissions.signed = Some(id);
        self.take_contribution(signed.clone());
        self.submissions.signed = None;
        if self.ledger.contribution(&id).is_some() {
            if self.blobs.updates.set_here(update) {
                self.heard(&id);
            }
            self.out.act(Output::SendContribution(signed));
        } else {
            // The horizon passed its base while it was signed; it never left this node.
            self.reject_encoding(&parent, &BaseError::Unknown(parent).to_string());
        }
    }

    /// A contribution of this node is held now: just signed, or come back from the store or a peer. In the latter case it
    /// holds none of what waits here.
    pub(super) fn own_contribution(&mut self, id: ContributionId, c: &Contribution) {
        self.submissions.own.entry(c.parent).or_insert(id);
        self.remember_vote(c);
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
        self.chain_dirty = true;
    }

    fn reject_encoding(&mut self, base: &CheckpointId, reason: &str) {
        // What came for this base meanwhile waits for the merge to end, however it ends.
        self.round_dirty = true;
        for id in self.submissions.encoding.remove(base).unwrap_or_default() {
            let reason = reason.to_owned();
            self.set_state(id, SubmissionState::Rejected { reason });
        }
    }

    /// Puts back what the store remembers of a submission.
    pub(super) fn restore_submission(&mut self, submission: Submission, state: SubmissionState) {
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
            // Its contribution is gone with the horizon: what was last said is what became of it, or it came to nothing.
            (SubmissionState::Sealed { .. }, None) => {}
            (SubmissionState::Merged { .. } | SubmissionState::Carried { .. }, None) => {
                let reason =
                    format!("its contribution on base {base} is no longer held: it was in no checkpoint in time");
                self.set_state(id, SubmissionState::Rejected { reason });
            }
        }
    }

    /// The head's branch changed: says what became of this node's contributions.
    pub(super) fn refresh_submissions(&mut self) {
        let ids: Vec<_> = self.submissions.merged.keys().copied().collect();
        for id in ids {
            let submissions = self.submissions.merged.get(&id).cloned().unwrap_or_default();
            let before = submissions
                .first()
                .and_then(|id| self.submissions.states.get(id))
                .cloned();
            let state = self.fate_of(&id, before.as_ref());
            let settled = state.is_final();
            for submission in submissions {
                self.set_state(submission, state.clone());
            }
            if settled {
                self.submissions.merged.remove(&id);
                self.forget_settled(&id);
            }
        }
    }

    /// Whether a contribution of this node holds submissions whose fate is not final.
    pub(super) fn is_unsettled(&self, id: &ContributionId) -> bool {
        self.submissions.merged.contains_key(id)
    }

    /// The round up to which this node never changes its mind: in a list what a quorum's votes settled; in an open model, where
    /// anyone can vote, what lies below the horizon.
    fn final_round(&self) -> u64 {
        if self.is_list {
            self.settled_round()
        } else {
            self.horizon
        }
    }

    /// What became of a contribution of this node, of which `before` was said.
    fn fate_of(&self, id: &ContributionId, before: Option<&SubmissionState>) -> SubmissionState {
        let Some(signed) = self.ledger.contribution(id) else {
            let reason = "its contribution is no longer held".to_owned();
            return SubmissionState::Rejected { reason };
        };
        let c = &signed.record;
        let (known, known_ppm) = match before {
            Some(SubmissionState::Sealed {
                checkpoint, weight_ppm, ..
            }) => (Some(*checkpoint), *weight_ppm),
            _ => (None, 0),
        };
        // Below the horizon the lists of seals are forgotten: what was said then is still so.
        let on_chain = |id: &CheckpointId| self.tree.get(id).is_some_and(|n| self.chain.contains(n.round, id));
        let listed = self.listed_in_chain(id).or(known.filter(on_chain));
        if let Some(node) = listed.and_then(|c| self.tree.get(&c)) {
            let weight_ppm = match self.share_of(id, node) {
                0 if known == Some(node.id) => known_ppm,
                ppm => ppm,
            };
            return SubmissionState::Sealed {
                checkpoint: node.id,
                weight_ppm,
                confirmed: node.round <= self.confirmed_round(),
                settled: node.round <= self.final_round(),
            };
        }
        // The last round that could list the contribution.
        let staleness = u64::from(self.spec.rounds.max_staleness);
        if c.round.saturating_add(staleness) <= self.final_round() {
            let reason = format!(
                "round {} was sealed without it and no later seal took it within {staleness} rounds (the spec's max_staleness)",
                c.round
            );
            return SubmissionState::Rejected { reason };
        }
        if c.parent == self.chain.head() {
            return SubmissionState::Merged { contribution: *id };
        }
        let round = self.chain.round() + 1;
        SubmissionState::Carried { round }
    }

    /// A contribution's share of a checkpoint, in parts per million; 0 where the others in it are unknown.
    fn share_of(&self, id: &ContributionId, node: &super::tree::Node) -> u32 {
        let Some(seal) = self.seal_of(node) else { return 0 };
        let (mut mine, mut all) = (0.0, 0.0);
        for listed in seal.fresh.iter().chain(&seal.late) {
            let Some(c) = self.ledger.contribution(listed) else {
                return 0;
            };
            // The discount of `update::aggregate`; this figure only informs.
            let behind = seal.round.saturating_sub(c.record.round);
            #[allow(clippy::cast_precision_loss)]
            let weight = c.record.samples as f64 / (1.0 + behind as f64).sqrt();
            all += weight;
            if listed == id {
                mine = weight;
            }
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let ppm = (mine / all * 1e6).round() as u32;
        ppm
    }
}
