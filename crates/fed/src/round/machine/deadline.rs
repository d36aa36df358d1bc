//! The time that an open round waits.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, Instant, NodeId};
use crate::record::MEMBERS_MAX;
use crate::round::machine::Machine;
use crate::round::table::open_round::OpenRound;

/// The deadline in multiples of the members' median pace: a member three times slower than most is still in.
const PACES: u64 = 3;
/// Pace in milliseconds up to which a member is always waited for: below it timers and queues decide, not trainers.
const PATIENCE_MS_MIN: u64 = 250;
/// Minimum of a measured deadline in milliseconds: where a round takes milliseconds, one
/// lost packet must not cost a member its round.
const DEADLINE_MS_MIN: u64 = 1_000;

impl Machine {
    /// Measures the pace of an author whose contribution on `parent` came in whole.
    pub(in crate::round) fn clock_pace(&mut self, author: NodeId, parent: &CheckpointId) {
        // On checkpoint 0 the clock starts when this node joins, which tells something about its own trainers only.
        let telling = *parent != self.rules.zero || author == self.rules.config.node;
        let room = self.pacing.paces.ms.len() < MEMBERS_MAX || self.pacing.paces.ms.contains_key(&author);
        if let Some(since) = self.pacing.paces.since(parent).filter(|_| telling && room) {
            self.pacing.paces.clock(author, self.now.since_ms(since));
        }
    }

    /// Median pace of the members in milliseconds. In a list all members with a known pace count, so
    /// that the fast ones do not decide alone. In an open model the nodes that contributed on the head
    /// count, or all known paces if none of theirs is known.
    fn median_pace_ms(&self) -> Option<u64> {
        if let Some(members) = self.rules.members() {
            return self
                .pacing
                .paces
                .median(members.iter().filter(|m| !self.history.is_excluded(m)));
        }
        let head = self.history.chain.head();
        let pace = self
            .pacing
            .paces
            .median(self.history.ballots.on(&head).map(|(author, _)| author));
        pace.or_else(|| self.pacing.paces.median(self.pacing.paces.ms.keys()))
    }

    /// Milliseconds from the first contribution to the deadline.
    pub(in crate::round) fn deadline_ms(&self) -> u64 {
        let policy = &self.rules.spec.rounds;
        if let Some(fixed) = policy.deadline_ms {
            return fixed;
        }
        let measured = self.median_pace_ms();
        let measured = measured.map(|ms| ms.saturating_mul(PACES).max(DEADLINE_MS_MIN));
        measured.unwrap_or(u64::MAX).min(policy.deadline_ms_max)
    }

    /// The slowest pace of a member that a round waits for, in milliseconds. A slower member's work is listed late.
    pub(in crate::round) fn patience_ms(&self) -> u64 {
        let known: Vec<u64> = self
            .rules
            .members()
            .into_iter()
            .flatten()
            .filter_map(|m| self.pacing.paces.pace(m))
            .collect();
        // Before a quorum of paces is known, a few fast members would decide.
        let (Some(fastest), true) = (known.iter().min(), known.len() >= self.rules.quorum) else {
            return u64::MAX;
        };
        let median = self.median_pace_ms().unwrap_or(u64::MAX);
        let in_time = fastest.saturating_add(self.deadline_ms());
        median.saturating_mul(PACES).max(PATIENCE_MS_MIN).min(in_time)
    }

    /// Time at which the open round is sealed even if expected members are missing; `None` before the first contribution.
    pub(in crate::round) fn deadline(&self) -> Option<Instant> {
        Some(self.open.first?.after_ms(self.deadline_ms()))
    }

    /// Time at which this node's submissions are merged even if not all trainers have submitted.
    pub(in crate::round) fn merge_at(&self) -> Option<Instant> {
        let from = [self.open.first, self.open.submitted].into_iter().flatten().min()?;
        Some(from.after_ms(self.deadline_ms().saturating_sub(self.rules.config.merge_margin_ms)))
    }

    /// Opens an [`OpenRound`] on the head. `live` is true if the head has just grown by one, so that its beginning is known.
    pub(in crate::round) fn open_round_on_head(&mut self, live: bool) {
        self.take_attendance();
        let head = self.history.chain.head();
        if live {
            self.pacing.paces.begin(head, self.now);
        }
        let known = self.history.ballots.authors(&head) > 0;
        self.open = OpenRound {
            first: known.then_some(self.now),
            submitted: self.submissions.waits_on(&head).then_some(self.now),
            seal_now: false,
            closing: None,
            expected: BTreeSet::new(),
        };
        if !self.rules.is_list {
            let keep: Vec<NodeId> = match self.history.chain.at(self.history.chain.round().saturating_sub(1)) {
                Some(parent) => self.history.ballots.on(&parent).map(|(author, _)| *author).collect(),
                None => vec![],
            };
            self.pacing.paces.ms.retain(|node, _| keep.binary_search(node).is_ok());
        }
        self.dirty.round = true;
    }
}
