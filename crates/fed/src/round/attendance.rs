//! Who takes part in rounds, and for whom they wait.

use std::collections::{BTreeMap, BTreeSet};

/// One miss weighs as much as so many rounds that a participant was in: who misses every third round is backed off too.
const MISS_WEIGHT: u32 = 3;

/// How one participant has attended.
#[derive(Debug, Default)]
struct Record {
    /// The newest round it was heard in.
    last: u64,
    /// It missed a round that waited for it, and has not been heard since.
    absent: bool,
    /// Up by `MISS_WEIGHT` for a round that waited for it in vain, down by one for a round that it was in.
    misses: u32,
    /// It is not waited for before this round.
    until: u64,
    /// The newest round that was noted: a head that swings closes a round twice.
    noted: u64,
}

/// Whom rounds wait for: a list's members, or a node's trainers. At first for all; one that misses a round is waited for again
/// once it has been heard, and after further misses only some rounds later, so that none costs a deadline in every round.
#[derive(Debug)]
pub(super) struct Attendance<K> {
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
    /// A sign of life in a round. One of a round heard before is none: a restart hears them all again.
    pub fn heard(&mut self, who: K, round: u64) {
        let record = self.records.entry(who).or_default();
        if round > record.last {
            record.last = round;
            record.absent = false;
        }
    }

    /// Whether a round waits for this one.
    pub fn expects(&self, who: &K, round: u64) -> bool {
        let record = self.records.get(who);
        record.is_none_or(|record| !record.absent && round >= record.until)
    }

    /// A round closed that waited for these; who was heard in it was in it.
    pub fn close(&mut self, round: u64, expected: &BTreeSet<K>) {
        for who in expected {
            let heard = self.records.get(who).is_some_and(|record| record.last >= round);
            self.note(who, round, heard);
        }
    }

    /// Notes whether a round that waited for this one had it.
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
        // None after the first miss, then 4, 16 and 64 rounds.
        let backoff = match record.misses.div_ceil(MISS_WEIGHT) {
            0 | 1 => 0,
            again => 1 << (2 * (again - 1)),
        };
        record.until = round + 1 + backoff;
    }

    /// Those known, the one heard last first.
    pub fn known(&self) -> Vec<K> {
        let mut known: Vec<_> = self.records.iter().collect();
        known.sort_by_key(|(_, record)| std::cmp::Reverse(record.last));
        known.into_iter().map(|(who, _)| who.clone()).collect()
    }

    /// Forgets one.
    pub fn forget(&mut self, who: &K) {
        self.records.remove(who);
    }
}
