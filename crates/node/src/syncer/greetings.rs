//! The order of greetings, without I/O and clock: members before strangers, in each group the peer that has waited longest, and
//! a peer that was too slow only after a pause.

use std::time::{Duration, Instant};

use qres_fed::id::{NodeId, SpecId};
use tokio::time::timeout;

use super::queue::{Pair, SyncQueue};

/// The time after which a greeting makes room for another peer that waits. A thousand offers are about 200 KB: a link of 1
/// Mbit/s brings them in two seconds.
const WINDOW: Duration = Duration::from_secs(20);

/// The queue of greetings, bounded by the connections: each peer waits at most once.
#[derive(Default)]
pub struct Greetings {
    members: SyncQueue,
    strangers: SyncQueue,
}

/// Returns the [`Pair`] of a greeting, which is of no model.
fn pair(node: NodeId) -> Pair {
    (node, SpecId([0; 32]))
}

impl Greetings {
    /// Queues a peer; one that waits already keeps its place.
    pub fn want(&mut self, node: NodeId, member: bool) {
        let sync_queue = if member { &mut self.members } else { &mut self.strangers };
        sync_queue.want(pair(node));
    }

    /// Drops the peers that cannot be greeted.
    pub fn retain(&mut self, mut keep: impl FnMut(&NodeId) -> bool) {
        self.members.retain(|(node, _)| keep(node));
        self.strangers.retain(|(node, _)| keep(node));
    }

    /// Returns the peer whose turn it is; the turn lasts until [`Greetings::ended`].
    pub fn next(&mut self, members_only: bool, now: Instant) -> Option<NodeId> {
        let member = self.members.next(now);
        let stranger = |sync_queue: &mut SyncQueue| if members_only { None } else { sync_queue.next(now) };
        member.or_else(|| stranger(&mut self.strangers)).map(|(node, _)| node)
    }

    /// Ends the turn of a greeting, which ended well or because it was too slow.
    pub fn ended(&mut self, node: &NodeId, too_slow: bool, now: Instant) {
        // The peer's membership may have changed meanwhile: its pause counts in both groups.
        self.members.ended(&pair(*node), too_slow, now);
        self.strangers.ended(&pair(*node), too_slow, now);
    }

    /// Returns true if another peer could be greeted in this one's place.
    pub fn others_wait(&self, node: &NodeId, now: Instant) -> bool {
        self.members.others_wait(node, now) || self.strangers.others_wait(node, now)
    }
}

/// Awaits what a greeting brings. Returns `None` if it was given up, because a [`WINDOW`] ended while other peers waited.
pub async fn at_pace<T>(work: impl Future<Output = T>, others_wait: impl Fn() -> bool) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        match timeout(WINDOW, &mut work).await {
            Ok(done) => return Some(done),
            Err(_) if others_wait() => return None,
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use qres_wire::clock;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    #[test]
    fn members_are_greeted_first_and_the_last_slot_is_theirs() {
        let now = clock::now();
        let mut greetings = Greetings::default();
        for n in [1, 2, 9, 8] {
            greetings.want(node(n), n >= 8);
        }
        assert!(greetings.others_wait(&node(9), now));
        let last_slot: Vec<_> = std::iter::from_fn(|| greetings.next(true, now)).collect();
        assert_eq!(last_slot, [node(9), node(8)]);
        let others: Vec<_> = std::iter::from_fn(|| greetings.next(false, now)).collect();
        assert_eq!(others, [node(1), node(2)]);
        greetings.want(node(3), false);
        greetings.retain(|other| *other != node(3));
        assert!(!greetings.others_wait(&node(9), now));
    }

    #[test]
    fn a_slow_peer_is_greeted_again_behind_the_others_and_after_a_pause() {
        let mut now = clock::now();
        let mut greetings = Greetings::default();
        greetings.want(node(1), false);
        assert_eq!(greetings.next(false, now), Some(node(1)));
        greetings.want(node(1), false);
        assert!(!greetings.others_wait(&node(1), now), "it makes no room for itself");
        greetings.want(node(2), false);
        assert!(greetings.others_wait(&node(1), now));
        greetings.ended(&node(1), true, now);
        assert_eq!(greetings.next(false, now), Some(node(2)));
        assert_eq!(greetings.next(false, now), None);
        now += Duration::from_secs(10);
        assert_eq!(greetings.next(false, now), Some(node(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_greeting_is_given_up_after_its_window_when_others_wait() {
        let began = tokio::time::Instant::now();
        let never = || std::future::pending::<()>();
        let given_up = timeout(2 * WINDOW, at_pace(never(), || true)).await;
        assert_eq!(given_up, Ok(None));
        assert_eq!(began.elapsed().as_secs(), WINDOW.as_secs());
        // Here the others begin to wait only in the third window.
        let asked = AtomicUsize::new(0);
        let third = || asked.fetch_add(1, Ordering::Relaxed) == 2;
        assert_eq!(at_pace(never(), third).await, None);
        assert_eq!(began.elapsed().as_secs(), 4 * WINDOW.as_secs());
        let in_time = tokio::time::sleep(WINDOW.checked_sub(Duration::from_secs(1)).unwrap());
        assert_eq!(at_pace(in_time, || true).await, Some(()));
    }
}
