//! The times of a model's rounds as this node saw them, and the way in which its head moved.

use std::time::Instant;

use qres_fed::id::CheckpointId;
use qres_fed::record::{Membership, Spec};
use qres_fed::round::{CheckpointInfo, Machine, RoundInfo};

use crate::metrics::rounds::{Outcome, RoundEnd};

/// The most checkpoints that are looked through for the last head below a new one; beyond it the node has caught up.
const STEPS_MAX: u64 = 4096;

/// The clock of the open round of one model.
#[derive(Debug)]
pub struct RoundClock {
    /// The head that the node stands on.
    head: CheckpointId,
    round: u64,
    /// The first contribution on the head that this node knew.
    first: Option<Instant>,
    /// The last contribution that counts, and how many count.
    last: Option<(Instant, usize)>,
}

impl RoundClock {
    /// Creates the clock of a model that stands on this head.
    pub fn new(head: &CheckpointInfo) -> Self {
        Self {
            head: head.id,
            round: head.round,
            first: None,
            last: None,
        }
    }

    /// Notes how the open round stands.
    pub fn changed(&mut self, open: &RoundInfo, now: Instant) {
        if open.parent != self.head {
            return;
        }
        let fresh = open.contributions.iter().filter(|c| !c.late).count();
        if fresh > 0 || open.deadline.is_some() {
            self.first.get_or_insert(now);
        }
        if fresh > self.last.map_or(0, |(_, count)| count) {
            self.last = Some((now, fresh));
        }
    }

    /// Notes that the head moved. Returns how the round ended, or `None` if the head is the one before.
    pub fn head_moved(
        &mut self,
        machine: &Machine,
        spec: &Spec,
        checkpoint: CheckpointId,
        now: Instant,
    ) -> Option<RoundEnd> {
        let info = machine.checkpoint(&checkpoint).filter(|info| info.id != self.head)?;
        let (outcome, rounds) = self.path(machine, &info);
        let (mut fresh, mut late, mut missing) = (0, 0, 0);
        let mut outcome = outcome;
        if let Some(round) = machine.round(info.round).filter(|_| info.round > 0) {
            late = round.contributions.iter().filter(|c| c.late).count() as u64;
            fresh = round.contributions.len() as u64 - late;
            missing = wanted(spec).saturating_sub(fresh);
            if outcome == Outcome::Complete && missing > 0 {
                outcome = Outcome::Partial;
            }
        }
        let next = info.parent == Some(self.head);
        let first = self.first.filter(|_| next);
        let last = self.last.filter(|_| next);
        let end = RoundEnd {
            outcome,
            rounds,
            fresh,
            late,
            missing,
            took: first.map(|first| now.saturating_duration_since(first)),
            waited: first
                .zip(last)
                .map(|(first, (last, _))| last.saturating_duration_since(first)),
        };
        *self = Self::new(&info);
        Some(end)
    }

    /// Returns the way from the last head to this one: the next round, several rounds, or another branch.
    fn path(&self, machine: &Machine, info: &CheckpointInfo) -> (Outcome, u64) {
        if info.parent == Some(self.head) {
            // Without a contribution on the last head this node did not take part in the round.
            return match self.first {
                Some(_) => (Outcome::Complete, 1),
                None => (Outcome::CaughtUp, 1),
            };
        }
        if info.round <= self.round {
            return (Outcome::Replaced, 1);
        }
        let rounds = info.round - self.round;
        let mut at = *info;
        for _ in 0..rounds.min(STEPS_MAX) {
            // What is below the root is forgotten: it was adopted.
            match at.parent.and_then(|parent| machine.checkpoint(&parent)) {
                Some(parent) => at = parent,
                None => return (Outcome::CaughtUp, rounds),
            }
        }
        if at.round > self.round || at.id == self.head {
            return (Outcome::CaughtUp, rounds);
        }
        (Outcome::Replaced, 1)
    }
}

/// Returns the number of contributions with which a round is complete.
fn wanted(spec: &Spec) -> u64 {
    match &spec.membership {
        Membership::List(members) => members.len() as u64,
        Membership::Open => u64::from(spec.rounds.target.unwrap_or(spec.rounds.min_contributions)),
    }
}
