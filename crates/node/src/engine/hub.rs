//! Revisions and what happened with each: what every watch reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::view::{Event, Revision};

/// Events kept for watchers that come back: at about 1 KiB each some 4 MiB.
const KEPT_MAX: usize = 4096;
/// Bytes of tensors that kept events may hold: states carry theirs.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Revisions reserved with one commit. A restart goes on above the reserved ones, so no revision is ever used twice.
pub const RESERVED: u64 = 1 << 20;

struct Log {
    /// The newest revision given out.
    revision: Revision,
    /// Ascending, contiguous.
    events: VecDeque<Arc<Event>>,
    /// Bytes of tensors in them.
    bytes: usize,
}

/// Bytes of tensors in an event.
fn tensor_bytes(event: &Event) -> usize {
    match event {
        Event::State(state) => state.tensors.len(),
        Event::Model(_) | Event::ModelLeft(..) | Event::Round(_) | Event::Submission(_) | Event::Peer(_) => 0,
    }
}

/// A ring of the newest events. A watcher holds a revision, not a queue: a slow one costs nothing and is told when what it
/// wants is gone.
pub struct Hub {
    log: Mutex<Log>,
    newest: watch::Sender<Revision>,
}

/// What a watcher finds at its place in the log.
pub enum Read {
    /// Events from the asked revision on, ascending.
    Events(Vec<(Revision, Arc<Event>)>),
    /// No longer kept; holds the oldest that is.
    TooOld(Revision),
}

impl Hub {
    /// Starts above `floor`.
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

    fn log(&self) -> MutexGuard<'_, Log> {
        // Nothing below panics while it holds the lock, so a poisoned one is still whole.
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Gives the event the next revision.
    pub fn push(&self, event: Event) -> Revision {
        let mut log = self.log();
        log.revision += 1;
        log.bytes += tensor_bytes(&event);
        log.events.push_back(Arc::new(event));
        while log.events.len() > KEPT_MAX || log.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = log.events.pop_front() else { break };
            log.bytes -= tensor_bytes(&oldest);
        }
        let revision = log.revision;
        drop(log);
        self.newest.send_replace(revision);
        revision
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.log().revision
    }

    /// Told of every new revision.
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Everything from revision `next` on.
    pub fn read(&self, next: Revision) -> Read {
        let log = self.log();
        let oldest = log.revision + 1 - log.events.len() as u64;
        if next < oldest {
            return Read::TooOld(oldest);
        }
        let skip = usize::try_from(next - oldest).unwrap_or(usize::MAX);
        Read::Events(
            log.events
                .iter()
                .enumerate()
                .skip(skip)
                .map(|(i, e)| (oldest + i as u64, e.clone()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qres_fed::id::SpecId;

    fn event(n: u8) -> Event {
        Event::ModelLeft(SpecId([n; 32]), "m".parse().unwrap())
    }

    #[test]
    fn a_watcher_misses_nothing_or_is_told_so() {
        let hub = Hub::new(100);
        assert!(matches!(hub.read(101), Read::Events(events) if events.is_empty()));
        assert!(matches!(hub.read(100), Read::TooOld(101)));
        for n in 0..3 {
            assert_eq!(hub.push(event(n)), 101 + u64::from(n));
        }
        let Read::Events(events) = hub.read(102) else {
            panic!("kept")
        };
        assert_eq!(events.iter().map(|(r, _)| *r).collect::<Vec<_>>(), [102, 103]);
        for _ in 0..KEPT_MAX {
            hub.push(event(9));
        }
        assert!(matches!(hub.read(102), Read::TooOld(104)));
        assert!(matches!(hub.read(104), Read::Events(events) if events.len() == KEPT_MAX));
    }
}
