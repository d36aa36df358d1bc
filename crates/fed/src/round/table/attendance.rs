//! Attendance: which nodes or trainers take part in rounds, and which of them a round waits for.

use std::collections::{BTreeMap, BTreeSet};

/// Number of attended rounds that weigh as much as one missed round, so that a participant
/// that misses every third round is backed off too.
const MISS_WEIGHT: u32 = 3;

/// Attendance record of one participant.
#[derive(Debug, Default)]
struct Record {
    /// The newest round in which the participant was heard.
    last: u64,
    /// True if the participant missed a round that waited for it, and has not been heard since.
    absent: bool,
    /// Weight of the misses: up by [`MISS_WEIGHT`] for a round that waited in vain, down by
    /// one for a round that the participant attended.
    misses: u32,
    /// The first round that waits for the participant again.
    until: u64,
    /// The newest round that was noted. A head that swings closes a round twice, and the second time does not count.
    noted: u64,
}

/// The participants that rounds wait for: the members of a list, or the trainers of a node. At first rounds wait for all. A
/// participant that misses a round is waited for again once it has been heard, and after further misses only some rounds later,
/// so that no participant costs a deadline in every round.
#[derive(Debug)]
pub(in crate::round) struct Attendance<K> {
    records: BTreeMap<K, Record>,
}

impl<K> Default for Attendance<K> {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Attendance<K> {
    /// Notes a sign of life of a participant in a round. A round that is not newer than the last one does not count, because a
    /// restart hears all of them again.
    pub fn heard(&mut self, who: K, round: u64) {
        let record = self.records.entry(who).or_default();
        if round > record.last {
            record.last = round;
            record.absent = false;
        }
    }

    /// Returns true if a round waits for this participant.
    pub fn expects(&self, who: &K, round: u64) -> bool {
        let record = self.records.get(who);
        record.is_none_or(|record| !record.absent && round >= record.until)
    }

    /// Closes a round that waited for these participants. A participant that was heard in the round attended it.
    pub fn close(&mut self, round: u64, expected: &BTreeSet<K>) {
        for who in expected {
            let heard = self.records.get(who).is_some_and(|record| record.last >= round);
            self.note(who, round, heard);
        }
    }

    /// Notes if this participant attended a round that waited for it.
    pub fn note(&mut self, who: &K, round: u64, was_in: bool) {
        let record = self.records.entry(who.clone()).or_default();
        if round <= record.noted {
            return;
        }
        record.noted = round;
        if was_in {
            record.misses = record.misses.saturating_sub(1);
            return;
        }
        record.absent = true;
        record.misses = (record.misses + MISS_WEIGHT).min(4 * MISS_WEIGHT);
        // No rounds after the first miss, then 4, 16 and 64 rounds.
        let backoff = match record.misses.div_ceil(MISS_WEIGHT) {
            0 | 1 => 0,
            again => 1 << (2 * (again - 1)),
        };
        record.until = round + 1 + backoff;
    }

    /// All known participants, the one heard last first.
    pub fn known(&self) -> Vec<K> {
        let mut known: Vec<_> = self.records.iter().collect();
        known.sort_by_key(|(_, record)| std::cmp::Reverse(record.last));
        known.into_iter().map(|(who, _)| who.clone()).collect()
    }

    /// Forgets everything about one participant.
    pub fn forget(&mut self, who: &K) {
        self.records.remove(who);
    }
}
