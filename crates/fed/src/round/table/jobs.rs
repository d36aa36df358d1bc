//! Aggregations: the jobs under way, and the results that came out.

use std::collections::BTreeMap;

use crate::id::{CheckpointId, ContributionId, Instant, ProposalId};
use crate::record::Content;

/// Maximum number of recomputations at once, beside the aggregation of this node's
/// own proposal: a job reads every listed update.
const RECOMPUTED_MAX: usize = 1;

/// An aggregation under way.
#[derive(Debug)]
pub(in crate::round) struct Job {
    pub since: Instant,
    /// True for the job of this node's own proposal, which never waits for seals of strangers.
    pub own: bool,
    pub parent: CheckpointId,
    pub round: u64,
    /// The listed contributions, fresh and late.
    pub listed: Vec<ContributionId>,
}

/// A result that came out.
#[derive(Debug)]
pub(in crate::round) struct Known {
    pub round: u64,
    /// Place of the result in the order in which results came.
    pub count: u64,
    pub result: Content,
}

/// The jobs under way and the recent results.
#[derive(Debug, Default)]
pub(in crate::round) struct Jobs {
    pub flying: BTreeMap<ProposalId, Job>,
    /// Results of rounds above the head's round only. Below it, the results that matter are checkpoints already.
    pub results: BTreeMap<ProposalId, Known>,
    /// Number of results known so far, forgotten ones included.
    pub count: u64,
    pub retry: BTreeMap<ProposalId, Instant>,
    pub last_ms: u64,
}

impl Jobs {
    pub fn result(&self, id: &ProposalId) -> Option<Content> {
        self.results.get(id).map(|known| known.result)
    }

    pub fn results(&self) -> impl Iterator<Item = &Content> {
        self.results.values().map(|known| &known.result)
    }

    /// Duration of the last aggregation on this node, in milliseconds.
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// The jobs on `parent` other than `own`.
    pub fn on(&self, parent: &CheckpointId, own: &ProposalId) -> Vec<ProposalId> {
        let others = self
            .flying
            .iter()
            .filter(|(id, job)| job.parent == *parent && *id != own);
        others.map(|(id, _)| *id).collect()
    }

    /// Returns true if one more recomputation may run.
    pub fn has_room(&self) -> bool {
        self.flying.values().filter(|job| !job.own).count() < RECOMPUTED_MAX
    }

    /// Returns true if a job neither runs nor has just failed.
    pub fn may_start(&self, id: &ProposalId, now: Instant) -> bool {
        !self.flying.contains_key(id) && self.retry.get(id).is_none_or(|at| *at <= now)
    }

    /// Takes out the failed jobs that may be tried again from now on.
    pub fn take_due_retries(&mut self, now: Instant) -> Vec<ProposalId> {
        let due: Vec<_> = self
            .retry
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| *id)
            .collect();
        self.retry.retain(|_, at| *at > now);
        due
    }

    /// Time at which a failed job may be tried again, the earliest after `now`.
    pub fn next_retry(&self, now: Instant) -> Option<Instant> {
        self.retry.values().filter(|at| **at > now).min().copied()
    }
}
