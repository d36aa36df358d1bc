//! Nothing is signed after a start before records were compared with others: the data directory may be an old copy, and a
//! second contribution on a parent that the first one's copy no longer knows convicts an honest member.

use std::collections::BTreeSet;

use super::condition::Comparing;
use super::machine::Machine;
use crate::id::{Instant, NodeId};

/// With no member in reach that was not compared with, no longer than this: dialling all known addresses takes a few seconds.
const ALONE_MS: u64 = 10_000;
/// However many are in reach: one that never answers must not keep this node from work.
const COMPARE_MS_MAX: u64 = 60_000;
/// Nodes of an open model to compare with: they have no quorum, and two of them may not have heard what one has not.
const OPEN_NEEDED: usize = 2;

/// With whom records were compared since the start.
#[derive(Debug)]
pub(super) struct Comparison {
    since: Instant,
    needed: usize,
    with: BTreeSet<NodeId>,
    reachable: BTreeSet<NodeId>,
    done: bool,
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

    /// When waiting ends, as far as is known now.
    fn until(&self) -> Instant {
        let wait = if self.reachable.is_subset(&self.with) {
            ALONE_MS
        } else {
            COMPARE_MS_MAX
        };
        self.since.after_ms(wait)
    }

    /// Whether enough was compared, or waited for long enough. Once it is so it stays so.
    fn check(&mut self, now: Instant) -> bool {
        self.done |= self.with.len() >= self.needed || self.until() <= now;
        self.done
    }
}

impl Machine {
    /// How many others this node compares its records with before it signs.
    pub(super) fn to_compare(is_list: bool, is_member: bool, quorum: usize) -> usize {
        match (is_list, is_member) {
            (_, false) => 0,
            (true, true) => quorum.saturating_sub(1),
            (false, true) => OPEN_NEEDED,
        }
    }

    /// All that this node lacked of what a peer holds has been taken in.
    pub(super) fn compared(&mut self, with: NodeId) {
        if !self.comparison.done && with != self.config.node && self.spec.admits(&with) {
            self.comparison.with.insert(with);
            self.round_dirty = true;
        }
    }

    /// The peers that are connected now.
    pub(super) fn reachable(&mut self, peers: &BTreeSet<NodeId>) {
        // Anyone is connected to a node of an open model: most of them have not joined it.
        if self.is_list && !self.comparison.done {
            let members = peers.iter().filter(|node| self.spec.admits(node));
            self.comparison.reachable = members.copied().collect();
            self.round_dirty = true;
        }
    }

    /// Whether this node signs.
    pub(super) fn may_sign(&mut self) -> bool {
        let now = self.now;
        self.comparison.check(now)
    }

    /// When this node signs whoever has answered, while it does not.
    pub(super) fn comparison_ends(&self) -> Option<Instant> {
        (!self.comparison.done).then(|| self.comparison.until())
    }

    /// What this node compares before it signs; `None` once it signs.
    pub(super) fn comparing(&self) -> Option<Comparing> {
        (!self.comparison.done).then_some(Comparing {
            compared: self.comparison.with.len(),
            needed: self.comparison.needed,
        })
    }
}
