//! The trainers that a node waits for before it merges.

use std::collections::BTreeSet;

use crate::round::table::attendance::Attendance;

/// Maximum number of remembered trainers' names beyond the configured number, so that
/// names that change at every start do not pile up.
const SPARE_NAMES_MAX: usize = 64;
/// Name that stands for the configured trainers that were never heard. No trainer has an empty name.
const UNKNOWN: &str = "";

/// The trainers of a node. It waits for the configured number of them, but not for a trainer that missed merges and was not
/// heard since. An attempt to submit is a sign of life, whether it was taken or refused.
#[derive(Debug)]
pub(in crate::round) struct Trainers {
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

    /// Notes that a trainer submits, or tries to, while this round is open.
    pub fn heard(&mut self, trainer: &str, round: u64) {
        self.attendance.heard(trainer.to_owned(), round);
        for old in self.names().skip(self.wanted + SPARE_NAMES_MAX) {
            self.attendance.forget(&old);
        }
    }

    fn names(&self) -> impl Iterator<Item = String> + use<> {
        self.attendance.known().into_iter().filter(|name| name != UNKNOWN)
    }

    /// Names of the trainers that a merge in this round waits for.
    fn expected(&self, round: u64) -> BTreeSet<String> {
        let names: Vec<_> = self.names().take(self.wanted).collect();
        let unknown = (names.len() < self.wanted).then(|| UNKNOWN.to_owned());
        let all = names.into_iter().chain(unknown);
        all.filter(|who| self.attendance.expects(who, round)).collect()
    }

    /// Returns true if these are all the trainers that a merge in this round waits for.
    pub fn are_all(&self, here: &BTreeSet<&str>, round: u64) -> bool {
        here.len() >= self.wanted || self.expected(round).iter().all(|who| here.contains(who.as_str()))
    }

    /// Notes that a merge of these trainers in this round has begun.
    pub fn merged(&mut self, here: &BTreeSet<String>, round: u64) {
        for who in self.expected(round) {
            self.attendance.note(&who, round, here.contains(&who));
            if who == UNKNOWN {
                // A trainer that has not started yet gives no sign of life, but it is waited for again all the same.
                self.attendance.heard(who, round);
            }
        }
    }
}
