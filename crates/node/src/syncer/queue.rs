//! The order of comparisons, without I/O and clock: the pair that has waited longest comes first. A peer has one comparison at
//! a time, and pauses after one that was too slow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use qres_fed::id::{NodeId, SpecId};

/// The first pause of a peer that was too slow; it doubles with each one more, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(10);
/// The longest pause: every other peer had several turns meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(320);
/// The most slow peers remembered: more than can be connected. The one whose pause ends first makes room.
const SLOW_MAX: usize = 1024;

/// A peer, and the model to compare with it.
pub type Pair = (NodeId, SpecId);

/// The queue of comparisons, bounded by peers × models: each [`Pair`] waits at most once.
#[derive(Default)]
pub struct SyncQueue {
    /// The place of each pair in the queue.
    waiting: BTreeMap<Pair, u64>,
    places: u64,
    running: BTreeSet<Pair>,
    slow: BTreeMap<NodeId, Slow>,
}

struct Slow {
    times: u32,
    not_before: Instant,
}

impl SyncQueue {
    /// Queues a pair; one that waits already keeps its place.
    pub fn want(&mut self, pair: Pair) {
        self.places += 1;
        self.waiting.entry(pair).or_insert(self.places);
    }

    /// Drops and returns the pairs that cannot run now.
    pub fn retain(&mut self, mut keep: impl FnMut(&Pair) -> bool) -> Vec<Pair> {
        let dropped: Vec<Pair> = self.waiting.keys().filter(|pair| !keep(pair)).copied().collect();
        for pair in &dropped {
            self.waiting.remove(pair);
        }
        dropped
    }

    /// Returns the pair whose turn it is; it runs until [`SyncQueue::ended`].
    pub fn next(&mut self, now: Instant) -> Option<Pair> {
        let may = |(node, _): &Pair| self.may_run(node, now);
        let ready = self.waiting.iter().filter(|(pair, _)| may(pair));
        let pair = *ready.min_by_key(|(_, place)| **place)?.0;
        self.waiting.remove(&pair);
        self.running.insert(pair);
        debug_assert!(self.has_one_turn_a_peer());
        Some(pair)
    }

    /// Ends the turn of a comparison, which ended well or because it was too slow.
    pub fn ended(&mut self, pair: &Pair, too_slow: bool, now: Instant) {
        self.running.remove(pair);
        let node = pair.0;
        if !too_slow {
            self.slow.remove(&node);
            return;
        }
        let times = self.slow.get(&node).map_or(0, |slow| slow.times);
        if times == 0
            && self.slow.len() >= SLOW_MAX
            && let Some(first) = self.slow.iter().min_by_key(|(_, s)| s.not_before).map(|(n, _)| *n)
        {
            self.slow.remove(&first);
        }
        let pause = PAUSE_MIN.saturating_mul(1 << times.min(16)).min(PAUSE_MAX);
        let slow = Slow {
            times: times.saturating_add(1),
            not_before: now + pause,
        };
        self.slow.insert(node, slow);
        debug_assert!(self.slow.len() <= SLOW_MAX);
    }

    /// Returns true if a pair of another peer could run in this one's place.
    pub fn others_wait(&self, node: &NodeId, now: Instant) -> bool {
        let mut others = self.waiting.keys().filter(|(other, _)| other != node);
        others.any(|(other, _)| self.may_run(other, now))
    }

    /// The invariant of the turns: no peer has two at a time.
    fn has_one_turn_a_peer(&self) -> bool {
        let peers: BTreeSet<_> = self.running.iter().map(|(node, _)| node).collect();
        peers.len() == self.running.len()
    }

    fn may_run(&self, node: &NodeId, now: Instant) -> bool {
        let busy = self.running.iter().any(|(other, _)| other == node);
        !busy && self.slow.get(node).is_none_or(|slow| slow.not_before <= now)
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    fn pair(node: u8, spec: u8) -> Pair {
        (NodeId([node; 32]), SpecId([spec; 32]))
    }

    #[test]
    fn one_peer_of_many_models_has_one_turn_and_the_longest_waiting_is_first() {
        let now = clock::now();
        let mut sync_queue = SyncQueue::default();
        for wanted in [pair(9, 1), pair(1, 1), pair(1, 2), pair(1, 3), pair(5, 1), pair(9, 1)] {
            sync_queue.want(wanted);
        }
        let first: Vec<_> = std::iter::from_fn(|| sync_queue.next(now)).collect();
        assert_eq!(first, [pair(9, 1), pair(1, 1), pair(5, 1)]);
        // A running pair that is wanted again waits for its own end, behind the other pairs of that peer.
        sync_queue.want(pair(1, 1));
        assert_eq!(sync_queue.next(now), None);
        sync_queue.ended(&pair(1, 1), false, now);
        assert_eq!(sync_queue.next(now), Some(pair(1, 2)));
    }

    #[test]
    fn a_slow_peer_makes_room_and_pauses_longer_each_time_until_it_does_well() {
        let mut now = clock::now();
        let mut sync_queue = SyncQueue::default();
        for expected in [10, 20, 40, 80, 160, 320, 320] {
            sync_queue.want(pair(1, 1));
            assert_eq!(sync_queue.next(now), Some(pair(1, 1)));
            sync_queue.want(pair(1, 2));
            assert!(
                !sync_queue.others_wait(&pair(1, 1).0, now),
                "it does not make room for itself"
            );
            sync_queue.want(pair(2, 1));
            assert!(sync_queue.others_wait(&pair(1, 1).0, now));
            sync_queue.ended(&pair(1, 1), true, now);
            assert_eq!(sync_queue.next(now), Some(pair(2, 1)));
            sync_queue.ended(&pair(2, 1), false, now);
            sync_queue.retain(|_| false);
            sync_queue.want(pair(1, 1));
            let pause = Duration::from_secs(expected);
            assert_eq!(sync_queue.next(now + pause - Duration::from_millis(1)), None);
            now += pause;
        }
        assert_eq!(sync_queue.next(now), Some(pair(1, 1)));
        sync_queue.ended(&pair(1, 1), false, now);
        sync_queue.want(pair(1, 1));
        assert_eq!(sync_queue.next(now), Some(pair(1, 1)));
    }
}
