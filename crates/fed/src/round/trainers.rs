//! For which of its trainers a node waits before it merges.

use std::collections::BTreeSet;

use super::attendance::Attendance;

/// Names of trainers that are remembered beyond the configured number: names that change at every start must not pile up.
const SPARE_NAMES_MAX: usize = 64;
/// Stands for the configured trainers that were never heard. No trainer has an empty name.
const UNKNOWN: &str = "";

/// A node's trainers. It waits for the configured number of them, but for none that missed merges and was not heard since:
/// an attempt to submit is a sign of life, whether it was taken or refused.
#[derive(Debug)]
pub(super) struct Trainers {
    wanted: usize,
    attendance: Attendance<String>,
}

impl Trainers {
    pub fn new(wanted: u32) -> Self {
        Self {
            wanted: wanted.max(1) as usize,
            attendance: Attendance::default(),
        }
    }

    /// A trainer submits, or tries to, while this round is open.
    pub fn heard(&mut self, trainer: &str, round: u64) {
        self.attendance.heard(trainer.to_owned(), round);
        for old in self.names().skip(self.wanted + SPARE_NAMES_MAX) {
            self.attendance.forget(&old);
        }
    }

    fn names(&self) -> impl Iterator<Item = String> + use<> {
        self.attendance.known().into_iter().filter(|name| name != UNKNOWN)
    }

    /// Those that a merge in this round waits for.
    fn expected(&self, round: u64) -> BTreeSet<String> {
        let names: Vec<_> = self.names().take(self.wanted).collect();
        let unknown = (names.len() < self.wanted).then(|| UNKNOWN.to_owned());
        let all = names.into_iter().chain(unknown);
        all.filter(|who| self.attendance.expects(who, round)).collect()
    }

    /// Whether these are all that a merge in this round waits for.
    pub fn are_all(&self, here: &BTreeSet<&str>, round: u64) -> bool {
        here.len() >= self.wanted || self.expected(round).iter().all(|who| here.contains(who.as_str()))
    }

    /// A merge of these in this round has begun.
    pub fn merged(&mut self, here: &BTreeSet<String>, round: u64) {
        for who in self.expected(round) {
            self.attendance.note(&who, round, here.contains(&who));
            if who == UNKNOWN {
                // A trainer that has not started yet gives no sign of life: it is waited for again all the same.
                self.attendance.heard(who, round);
            }
        }
    }
}
