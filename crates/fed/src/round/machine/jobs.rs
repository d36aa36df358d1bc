//! Aggregations: when a job starts, and what follows from its result.

use crate::id::{CheckpointId, ContributionId, ProposalId};
use crate::record::{Content, Proposal};
use crate::round::machine::Machine;
use crate::round::machine::limits::RETRY_MS;
use crate::round::table::jobs::{Job, Known};
use crate::round::{AggregateJob, FreshItem, LateItem, Output};

/// Maximum number of results remembered above the head. Each saves an aggregation when a seal of the same proposal comes.
const RESULTS_MAX: usize = 64;

impl Machine {
    /// Starts an aggregation as [`Output::Aggregate`], unless it runs, has just
    /// failed, or too many run. All its blobs are here.
    pub(in crate::round) fn start_job(&mut self, proposal: &Proposal) {
        let id = proposal.id();
        let own = self.is_own_proposal(&id);
        let full = !own && !self.fetching.jobs.has_room();
        if full || !self.fetching.jobs.may_start(&id, self.now) {
            return;
        }
        let item = |id: &ContributionId| {
            let c = &self.history.ledger.contribution(id)?.record;
            let item = FreshItem {
                id: *id,
                author: c.author,
                update: c.update,
                samples: c.samples,
                figures: c.report.figures(&self.rules.spec),
            };
            Some((item, proposal.round.saturating_sub(c.round)))
        };
        let Some(base) = self.history.tree.get(&proposal.parent).map(|n| n.content) else {
            return;
        };
        let fresh: Option<Vec<_>> = proposal.fresh.iter().map(|id| Some(item(id)?.0)).collect();
        let late = |id| {
            let (item, behind) = item(id)?;
            let staleness = u32::try_from(behind).unwrap_or(u32::MAX);
            Some(LateItem { item, staleness })
        };
        let late: Option<Vec<_>> = proposal.late.iter().map(late).collect();
        let (Some(fresh), Some(late)) = (fresh, late) else {
            return;
        };
        let job = Job {
            since: self.now,
            own,
            parent: proposal.parent,
            round: proposal.round,
            listed: proposal.fresh.iter().chain(&proposal.late).copied().collect(),
        };
        self.fetching.jobs.retry.remove(&id);
        self.fetching.jobs.flying.insert(id, job);
        self.out.act(Output::Aggregate(AggregateJob {
            id,
            proposal: proposal.clone(),
            base,
            fresh,
            late,
        }));
    }

    pub(in crate::round) fn aggregated(&mut self, id: ProposalId, result: Content) {
        if let Some(job) = self.fetching.jobs.flying.remove(&id) {
            self.fetching.jobs.last_ms = self.now.since_ms(job.since);
            self.fetching.jobs.count += 1;
            let (round, count) = (job.round, self.fetching.jobs.count);
            self.fetching.jobs.results.insert(id, Known { round, count, result });
            self.forget_results_beyond_max();
        }
        self.job_moved(&id);
        self.dirty.head = true;
        self.dirty.round = true;
    }

    /// Forgets the oldest results beyond [`RESULTS_MAX`]. The newest result stays, or it would be computed again at once; the
    /// result that this node is about to seal stays too.
    fn forget_results_beyond_max(&mut self) {
        while self.fetching.jobs.results.len() > RESULTS_MAX {
            let others = self
                .fetching
                .jobs
                .results
                .iter()
                .filter(|(id, _)| !self.is_own_proposal(id));
            let Some(oldest) = others.min_by_key(|(_, known)| known.count) else {
                return;
            };
            let oldest = *oldest.0;
            self.forget_result(&oldest);
        }
    }

    fn forget_result(&mut self, id: &ProposalId) {
        if let Some(known) = self.fetching.jobs.results.remove(id) {
            self.release(&known.result);
        }
    }

    /// Forgets the results of the head's round and below after the head moved. They
    /// have done their work, and their blobs may go.
    pub(in crate::round) fn forget_results(&mut self) {
        let round = self.history.chain.round();
        let old = self
            .fetching
            .jobs
            .results
            .iter()
            .filter(|(_, known)| known.round <= round);
        let old: Vec<_> = old.map(|(id, _)| *id).collect();
        for id in old {
            self.forget_result(&id);
        }
    }

    /// Schedules a failed job for another try. All blobs that the job read are asked for again: a vanished blob is fetched, a
    /// bad one is never listed again, and the requests for the others are answered at once.
    pub(in crate::round) fn aggregate_failed(&mut self, id: ProposalId) {
        let Some(job) = self.fetching.jobs.flying.remove(&id) else {
            return;
        };
        let again = self.now.after_ms(RETRY_MS);
        let now = self.now;
        self.fetching.jobs.retry.retain(|_, at| *at > now);
        self.fetching.jobs.retry.insert(id, again);
        for contribution in job.listed {
            let update = self.history.update_of(&contribution);
            self.fetching.blobs.updates.set_gone(&update);
        }
        if let Some(base) = self.history.tree.get(&job.parent).map(|n| n.content) {
            for (role, blob) in base.blobs() {
                self.fetching.blobs.known_mut(role).set_gone(&blob);
            }
        }
        self.job_moved(&id);
        self.dirty.head = true;
        self.dirty.round = true;
        self.dirty.wants = true;
    }

    /// Returns the result of a proposal, if it was computed or needs no computing.
    pub(in crate::round) fn known_result(&self, proposal: &Proposal) -> Option<Content> {
        let closing = self.closing_content(&proposal.parent);
        closing.or_else(|| self.fetching.jobs.result(&proposal.id()))
    }

    /// Returns true if everything needed to recompute a checkpoint is here.
    pub(in crate::round) fn can_recompute(&self, id: &CheckpointId) -> bool {
        let Some(node) = self.history.tree.get(id) else {
            return false;
        };
        let parent = node.parent.and_then(|p| self.history.tree.get(&p));
        let ready =
            parent.is_some_and(|p| p.verified && self.knows_end_at(p) && self.fetching.blobs.are_here(&p.content));
        let listed = self.history.seal_of(node).map(|s| s.fresh.iter().chain(&s.late));
        ready
            && node.complete
            && listed.is_some_and(|mut l| l.all(|id| self.fetching.blobs.updates.is_here(&self.history.update_of(id))))
    }

    /// Recomputes a checkpoint whose parent is verified: compares the digest of a known result,
    /// or starts the job, or asks for missing blobs.
    pub(in crate::round) fn recompute(&mut self, leaf: &CheckpointId, id: &CheckpointId) {
        let Some(node) = self.history.tree.get(id) else { return };
        let Some(proposal) = self.history.proposal_of(id).filter(|_| node.complete) else {
            return;
        };
        if let Some(fault) = self.closing_fault(&proposal) {
            return self.invalidate(id, &fault);
        }
        // A closing round needs no computing, but its updates must be here and right like those of any other: a node that has found
        // one of them bad refuses the round.
        let closing = self.closing_content(&proposal.parent).is_some();
        let known = self
            .known_result(&proposal)
            .filter(|_| !closing || self.can_recompute(id));
        if let Some(result) = known {
            if result == node.content {
                self.mark_verified(*id);
            } else {
                let said = node.content;
                self.invalidate(id, &format!("its result is {said}, its contributions make {result}"));
            }
            return;
        }
        if self.can_recompute(id) {
            return self.start_job(&proposal);
        }
        let holders = self.history.sealers_of(node);
        for listed in proposal.fresh.iter().chain(&proposal.late) {
            if let Some((blob, want)) = self.want_update(listed, &holders) {
                self.pursue_blob(leaf, blob, want);
            }
        }
        self.want_content_of(leaf, &proposal.parent);
    }

    /// Asks again for the blobs of a verified checkpoint that have vanished.
    pub(in crate::round) fn want_content_of(&mut self, leaf: &CheckpointId, id: &CheckpointId) {
        let Some(node) = self
            .history
            .tree
            .get(id)
            .filter(|n| n.verified && !self.fetching.blobs.are_here(&n.content))
        else {
            return;
        };
        let (content, holders) = (node.content, self.history.sealers_of(node));
        self.pursue_content(leaf, &content, holders);
    }
}
