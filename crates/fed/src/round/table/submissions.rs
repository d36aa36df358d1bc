//! This node's submissions, from the trainers' hands to their final states.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{CheckpointId, ContributionId, Instant, SubmissionId};
use crate::round::table::trainers::Trainers;
use crate::round::table::vote::Vote;
use crate::round::{Submission, SubmissionState};

/// The submissions that are not final, and the last ones that became final.
#[derive(Debug)]
pub(in crate::round) struct Submissions {
    pub known: BTreeMap<SubmissionId, Submission>,
    pub states: BTreeMap<SubmissionId, SubmissionState>,
    /// Submissions that are not merged yet, by base.
    pub pending: BTreeMap<CheckpointId, BTreeSet<SubmissionId>>,
    /// Submissions that are being merged, by base: those in the job, and then in the envelope.
    pub encoding: BTreeMap<CheckpointId, Vec<SubmissionId>>,
    /// The contribution that was signed just now, while it is taken in.
    pub signed: Option<ContributionId>,
    /// Contributions of this node, by parent: never two on one parent.
    pub own: BTreeMap<CheckpointId, ContributionId>,
    /// The submissions in each live contribution of this node.
    pub merged: BTreeMap<ContributionId, Vec<SubmissionId>>,
    /// The highest [`Vote`] given, target and source each.
    pub last_vote: Option<Vote>,
    pub retry: BTreeMap<CheckpointId, Instant>,
    pub finals: VecDeque<SubmissionId>,
    pub trainers: Trainers,
    /// True if no more trainers are waited for, because the node is about to stop.
    pub merge_now: bool,
    /// Submissions in `known` that were rejected because no update can be made of them.
    pub unusable: BTreeSet<SubmissionId>,
    /// Number of submissions that became unusable in this run.
    pub unusable_count: u64,
}

impl Submissions {
    pub fn new(trainers: u32) -> Self {
        Self {
            known: BTreeMap::new(),
            states: BTreeMap::new(),
            pending: BTreeMap::new(),
            encoding: BTreeMap::new(),
            signed: None,
            own: BTreeMap::new(),
            merged: BTreeMap::new(),
            last_vote: None,
            retry: BTreeMap::new(),
            finals: VecDeque::new(),
            trainers: Trainers::new(trainers),
            merge_now: false,
            unusable: BTreeSet::new(),
            unusable_count: 0,
        }
    }

    /// Returns true if the merge on a base has failed a moment ago.
    pub fn is_resting(&self, base: &CheckpointId, now: Instant) -> bool {
        self.retry.get(base).is_some_and(|at| *at > now)
    }

    /// Returns the reason why no update can be made of a trainer's work on a base. Returns `None` if other work of that trainer
    /// stands there, and for work that only came too late for its base, because the next base takes more.
    pub fn unusable(&self, trainer: &str, base: &CheckpointId) -> Option<&str> {
        let mut why = None;
        for (id, submission) in &self.known {
            if submission.trainer != trainer || submission.base != *base {
                continue;
            }
            match self.states.get(id) {
                Some(SubmissionState::Rejected { reason }) if self.unusable.contains(id) => why = Some(reason.as_str()),
                Some(SubmissionState::Rejected { .. }) | None => {}
                Some(_) => return None,
            }
        }
        why
    }

    pub fn states(&self) -> &BTreeMap<SubmissionId, SubmissionState> {
        &self.states
    }

    pub fn own(&self, parent: &CheckpointId) -> Option<ContributionId> {
        self.own.get(parent).copied()
    }

    /// Trainers whose submissions wait on this base.
    fn trainers_on(&self, base: &CheckpointId) -> BTreeSet<&str> {
        let ids = self.pending.get(base).into_iter().flatten();
        let waiting = ids.filter_map(|id| self.known.get(id));
        waiting.map(|submission| submission.trainer.as_str()).collect()
    }

    /// Returns true if all the trainers that the merge of this round waits for have submitted on this base.
    pub fn are_all_in(&self, base: &CheckpointId, round: u64) -> bool {
        self.trainers.are_all(&self.trainers_on(base), round)
    }

    /// Notes the trainers that are in when the merge of this round on this base begins.
    pub fn note_trainers(&mut self, base: &CheckpointId, round: u64) {
        let here: BTreeSet<String> = self.trainers_on(base).into_iter().map(str::to_owned).collect();
        self.trainers.merged(&here, round);
    }

    /// Returns true if a submission waits on this base.
    pub fn waits_on(&self, base: &CheckpointId) -> bool {
        self.pending.contains_key(base)
    }

    /// Bases that submissions wait on or are being merged on. Their weights are needed.
    pub fn bases(&self) -> impl Iterator<Item = &CheckpointId> {
        self.pending.keys().chain(self.encoding.keys())
    }

    /// Time at which a failed merge may be tried again, the earliest after `now`.
    pub fn next_retry(&self, now: Instant) -> Option<Instant> {
        self.retry.values().filter(|at| **at > now).min().copied()
    }

    /// Notes that a contribution was forgotten, so that it is no longer this node's own on `parent`.
    pub fn forget(&mut self, id: &ContributionId, parent: &CheckpointId) {
        if self.own.get(parent) == Some(id) {
            self.own.remove(parent);
        }
    }
}
