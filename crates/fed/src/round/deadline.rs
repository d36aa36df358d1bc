//! How long an open round waits.

use std::collections::BTreeMap;

use super::machine::Machine;
use crate::id::{Instant, NodeId};
use crate::record::MEMBERS_MAX;

/// The deadline is so many times the contributors' median pace: someone three times slower than most is still in.
const PACES: u64 = 3;
/// The least such deadline: where a round takes milliseconds, one lost packet must not cost a member its round.
const DEADLINE_MS_MIN: u64 = 1_000;

/// The round on the head, as this node's clock sees it.
#[derive(Debug, Default)]
pub(super) struct OpenRound {
    /// When the head came, live; unknown after a restart or a catch-up, when nobody's pace can be told from it.
    pub since: Option<Instant>,
    /// The first contribution known on the head: the deadline runs from here.
    pub first: Option<Instant>,
    /// The first submission of this node on the head: merging waits from here.
    pub submitted: Option<Instant>,
    /// An operator ended the waiting.
    pub seal_now: bool,
    /// The policy is met.
    pub closing: Option<super::sealer::Closing>,
}

/// How long each contributor last took from a head to its contribution.
#[derive(Debug, Default)]
pub(super) struct Paces {
    ms: BTreeMap<NodeId, u64>,
}

impl Paces {
    fn median<'a>(&self, of: impl Iterator<Item = &'a NodeId>) -> Option<u64> {
        let mut paces: Vec<u64> = of.filter_map(|node| self.ms.get(node)).copied().collect();
        paces.sort_unstable();
        // The upper one of two: waiting a little longer loses nobody's work.
        paces.get(paces.len() / 2).copied()
    }
}

impl Machine {
    /// A contribution on the head came in whole.
    pub(super) fn clock_pace(&mut self, author: NodeId) {
        // On checkpoint 0 the clock starts when a node joins, which says something about its own trainers only.
        let telling = self.chain.round() > 0 || author == self.config.node;
        let room = self.paces.ms.len() < MEMBERS_MAX || self.paces.ms.contains_key(&author);
        if let Some(since) = self.open.since.filter(|_| telling && room) {
            self.paces.ms.insert(author, self.now.since_ms(since));
        }
    }

    /// Milliseconds from the first contribution to the deadline.
    pub(super) fn deadline_ms(&self) -> u64 {
        let policy = &self.spec.rounds;
        if let Some(fixed) = policy.deadline_ms {
            return fixed;
        }
        let head = self.chain.head();
        let pace = self.paces.median(self.ballots.on(&head).map(|(author, _)| author));
        let pace = pace.or_else(|| self.paces.median(self.paces.ms.keys()));
        let measured = pace.map(|ms| ms.saturating_mul(PACES).max(DEADLINE_MS_MIN));
        measured.unwrap_or(u64::MAX).min(policy.deadline_ms_max)
    }

    /// When the open round is sealed even if expected members are missing; `None` while nobody has contributed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.open.first?.after_ms(self.deadline_ms()))
    }

    /// When this node's submissions are merged even if not all trainers are in.
    pub(super) fn merge_at(&self) -> Option<Instant> {
        let from = [self.open.first, self.open.submitted].into_iter().flatten().min()?;
        Some(from.after_ms(self.deadline_ms().saturating_sub(self.config.merge_margin_ms)))
    }

    /// A new round: `live` when the head has just grown by one, so that its beginning is known.
    pub(super) fn open_round_on_head(&mut self, live: bool) {
        self.take_attendance();
        let head = self.chain.head();
        let known = self.ballots.authors(&head) > 0;
        self.open = OpenRound {
            since: live.then_some(self.now),
            first: known.then_some(self.now),
            submitted: self.submissions.waits_on(&head).then_some(self.now),
            seal_now: false,
            closing: None,
        };
        if !self.is_list {
            let keep: Vec<NodeId> = match self.chain.at(self.chain.round().saturating_sub(1)) {
                Some(parent) => self.ballots.on(&parent).map(|(author, _)| *author).collect(),
                None => vec![],
            };
            self.paces.ms.retain(|node, _| keep.binary_search(node).is_ok());
        }
        self.round_dirty = true;
    }
}
