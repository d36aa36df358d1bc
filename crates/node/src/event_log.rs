//! The log of events and their revisions, which every watch reads.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use qres_fed::record::Membership;
use tokio::sync::watch;

use crate::view::{Event, Revision};

/// The most events kept for watchers that come back.
const KEPT_MAX: usize = 4096;
/// The most bytes that kept events may hold: states carry their tensors, models their whole spec (65,536 tensors are 6 MiB).
const KEPT_BYTES_MAX: usize = 16 << 20;
/// The bytes that an event takes beside its lists.
const EVENT_BYTES: usize = 512;
/// Revisions reserved with one commit. A restart goes on above the reserved ones, so no revision is ever used twice.
pub const RESERVED: u64 = 1 << 20;

struct Log {
    /// The newest revision given out.
    revision: Revision,
    /// The kept events; their revisions ascend without gaps.
    events: VecDeque<Arc<Event>>,
    /// The bytes that the kept events hold, approximately.
    bytes: usize,
}

impl Log {
    /// The invariant of the log: the kept events are few and small, and none has a revision below 1.
    fn is_bounded(&self) -> bool {
        let kept = self.events.len();
        kept <= KEPT_MAX && self.bytes <= KEPT_BYTES_MAX && kept as u64 <= self.revision
    }
}

/// Returns the bytes that an event holds, approximately.
fn held_bytes(event: &Event) -> usize {
    let lists = match event {
        Event::State(state) => state.tensors.len(),
        Event::Model(model) => {
            let tensors = model.spec.tensors.all();
            let members = match &model.spec.membership {
                Membership::List(members) => members.len(),
                Membership::Open => 0,
            };
            // A tensor's own struct is 56 bytes, a member's node in the set little more than its key.
            tensors
                .map(|(t, _)| 56 + t.name.len() + 8 * t.shape.len())
                .sum::<usize>()
                + 40 * members
        }
        // A contribution is 96 bytes, a losing seal 64.
        Event::Round(round) => 96 * (round.contributions.len() + round.losing_seals.len() + round.missing.len()),
        Event::Submission(submission) => submission.metrics.keys().map(|name| 32 + name.len()).sum(),
        Event::Peer(peer) => 72 * peer.heads.len() + peer.addresses.iter().map(String::len).sum::<usize>(),
        Event::ModelLeft(..) | Event::ModelHeard(_) => 0,
    };
    EVENT_BYTES + lists
}

/// A ring of the newest events. A watcher holds a revision, not a queue: a slow watcher costs nothing, and is told when the
/// events that it wants are gone.
pub struct EventLog {
    log: Mutex<Log>,
    newest: watch::Sender<Revision>,
}

/// The result of a watcher's [`EventLog::read`] at its place in the log.
pub enum Read {
    /// The first event from the asked revision on that is let through.
    Event(Revision, Arc<Event>),
    /// No such event so far; holds the revision to ask from next.
    Nothing(Revision),
    /// The asked revision is no longer kept; holds the oldest that is.
    TooOld(Revision),
}

impl EventLog {
    /// Creates a log whose revisions start above `floor`.
    pub fn new(floor: Revision) -> Self {
        Self {
            log: Mutex::new(Log {
                revision: floor,
                events: VecDeque::new(),
                bytes: 0,
            }),
            newest: watch::Sender::new(floor),
        }
    }

    /// Gives the event the next revision, and returns that revision.
    pub fn push(&self, event: Event) -> Revision {
        let mut log = self.log.lock();
        log.revision += 1;
        log.bytes += held_bytes(&event);
        log.events.push_back(Arc::new(event));
        while log.events.len() > KEPT_MAX || log.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = log.events.pop_front() else { break };
            log.bytes -= held_bytes(&oldest);
        }
        debug_assert!(log.is_bounded(), "events beyond their limits");
        let revision = log.revision;
        // This happens under the lock: two pushes that told the watchers in the wrong order would leave one asleep.
        self.newest.send_replace(revision);
        revision
    }

    /// Returns the newest revision.
    pub fn revision(&self) -> Revision {
        self.log.lock().revision
    }

    /// Returns a receiver of every new revision.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Returns the next event from revision `next` on that `admits` lets through. It returns one at a time: of the events that
    /// the ring has given up, a watch that is not read holds no more than one.
    pub fn read(&self, next: Revision, admits: impl Fn(&Event) -> bool) -> Read {
        let log = self.log.lock();
        let oldest = log.revision + 1 - log.events.len() as u64;
        if next < oldest {
            return Read::TooOld(oldest);
        }
        let skip = usize::try_from(next - oldest).unwrap_or(usize::MAX);
        let mut from_there = log.events.iter().enumerate().skip(skip);
        match from_there.find(|(_, event)| admits(event)) {
            Some((at, event)) => Read::Event(oldest + at as u64, event.clone()),
            None => Read::Nothing(next.max(log.revision + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{NodeId, SpecId};

    use super::*;
    use crate::view::StateView;

    fn event(n: u8) -> Event {
        Event::ModelLeft(SpecId([n; 32]), "m".parse().unwrap())
    }

    /// Returns the revisions of all events kept from `next` on; `Err` holds the oldest that is kept.
    fn kept(event_log: &EventLog, mut next: Revision) -> Result<Vec<Revision>, Revision> {
        let mut found = vec![];
        loop {
            match event_log.read(next, |_| true) {
                Read::Event(revision, _) => {
                    found.push(revision);
                    next = revision + 1;
                }
                Read::Nothing(_) => return Ok(found),
                Read::TooOld(oldest) => return Err(oldest),
            }
        }
    }

    #[test]
    fn a_watcher_misses_nothing_or_is_told_so() {
        let event_log = EventLog::new(100);
        assert_eq!(kept(&event_log, 101), Ok(vec![]));
        assert_eq!(kept(&event_log, 100), Err(101));
        for n in 0..3 {
            assert_eq!(event_log.push(event(n)), 101 + u64::from(n));
        }
        assert_eq!(kept(&event_log, 102), Ok(vec![102, 103]));
        for _ in 0..KEPT_MAX {
            event_log.push(event(9));
        }
        assert_eq!(kept(&event_log, 102), Err(104));
        assert_eq!(kept(&event_log, 104).unwrap().len(), KEPT_MAX);
    }

    #[test]
    fn a_watcher_that_none_of_it_concerns_goes_on_behind_it() {
        let event_log = EventLog::new(0);
        for n in 0..3 {
            event_log.push(event(n));
        }
        let of = |n: u8| move |event: &Event| matches!(event, Event::ModelLeft(spec, _) if *spec == SpecId([n; 32]));
        assert!(matches!(event_log.read(1, of(2)), Read::Event(3, _)));
        assert!(matches!(event_log.read(1, of(9)), Read::Nothing(4)));
        assert!(matches!(event_log.read(4, of(9)), Read::Nothing(4)));
    }

    #[test]
    fn kept_events_are_bounded_by_what_they_hold() {
        let event_log = EventLog::new(0);
        let large = |n: u64| {
            Event::State(StateView {
                spec: SpecId([1; 32]),
                model: "m".parse().unwrap(),
                publisher: NodeId([2; 32]),
                name: "s".into(),
                sequence: n,
                timestamp_unix_ms: 0,
                fidelity: 1.0,
                tensors: vec![0; KEPT_BYTES_MAX / 4].into(),
            })
        };
        for n in 0..9 {
            event_log.push(large(n));
        }
        // Three events fit, and some bytes are left: a fourth would be above the limit.
        assert_eq!(kept(&event_log, 7), Ok(vec![7, 8, 9]));
        assert_eq!(kept(&event_log, 6), Err(7));
    }

    #[test]
    fn pushes_from_many_threads_end_with_the_newest_revision_told() {
        let event_log = EventLog::new(0);
        let newest = event_log.subscribe();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|n| _ = event_log.push(event(n as u8))));
            }
        });
        assert_eq!((*newest.borrow(), event_log.revision()), (2000, 2000));
    }
}
