//! The progress of the comparison of records after a start.

use std::collections::BTreeSet;

use crate::id::{Instant, NodeId};

/// Maximum wait in milliseconds if all members in reach were compared with already. To
/// dial all known addresses takes a few seconds.
const ALONE_MS: u64 = 10_000;
/// Maximum wait in milliseconds in all other cases: a member that never answers must not keep this node from work.
const COMPARE_MS_MAX: u64 = 60_000;

/// The progress of the comparison with other nodes since the start.
#[derive(Debug)]
pub(in crate::round) struct Comparison {
    since: Instant,
    pub needed: usize,
    pub with: BTreeSet<NodeId>,
    pub reachable: BTreeSet<NodeId>,
    pub done: bool,
}

impl Comparison {
    pub fn new(since: Instant, needed: usize) -> Self {
        Self {
            since,
            needed,
            with: BTreeSet::new(),
            reachable: BTreeSet::new(),
            done: needed == 0,
        }
    }

    /// End of the wait, as far as it is known now.
    pub fn until(&self) -> Instant {
        let wait = if self.reachable.is_subset(&self.with) {
            ALONE_MS
        } else {
            COMPARE_MS_MAX
        };
        self.since.after_ms(wait)
    }

    /// Returns true if enough nodes were compared with, or if the wait is over. Once true, the result stays true.
    pub fn check(&mut self, now: Instant) -> bool {
        self.done |= self.with.len() >= self.needed || self.until() <= now;
        self.done
    }
}
