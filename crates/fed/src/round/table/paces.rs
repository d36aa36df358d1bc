//! The paces of contributors.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{CheckpointId, Instant, NodeId};

/// Maximum number of heads whose beginnings are remembered, so that the pace of late work is known too.
const HEADS_MAX: usize = 64;

/// Milliseconds that each contributor took from a head to its contribution, the last two times.
#[derive(Debug, Default)]
pub(in crate::round) struct Paces {
    pub ms: BTreeMap<NodeId, [u64; 2]>,
    /// Heads that came live, each with the time at which it came.
    since: VecDeque<(CheckpointId, Instant)>,
}

impl Paces {
    /// Notes a head that came live at `now`.
    pub fn begin(&mut self, head: CheckpointId, now: Instant) {
        self.since.push_back((head, now));
        if self.since.len() > HEADS_MAX {
            self.since.pop_front();
        }
    }

    pub fn since(&self, head: &CheckpointId) -> Option<Instant> {
        self.since.iter().rev().find(|(id, _)| id == head).map(|(_, at)| *at)
    }

    pub fn clock(&mut self, author: NodeId, ms: u64) {
        let last = self.ms.get(&author).map_or(ms, |paces| paces[1]);
        self.ms.insert(author, [last, ms]);
    }

    /// Pace of a node in milliseconds: the better of the last two, so that one lost packet does not make a node slow.
    pub fn pace(&self, node: &NodeId) -> Option<u64> {
        self.ms.get(node).map(|paces| paces[0].min(paces[1]))
    }

    /// Returns true if a node can be in time, as far as its pace is known.
    pub fn fits(&self, node: &NodeId, patience_ms: u64) -> bool {
        self.pace(node).is_none_or(|ms| ms <= patience_ms)
    }

    pub fn median<'a>(&self, of: impl Iterator<Item = &'a NodeId>) -> Option<u64> {
        let mut paces: Vec<u64> = of.filter_map(|node| self.pace(node)).collect();
        paces.sort_unstable();
        // Of two middle paces the upper one counts: a wait that is a little longer loses no work.
        paces.get(paces.len() / 2).copied()
    }
}
