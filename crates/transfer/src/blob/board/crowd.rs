//! Which session makes room when there are as many as may be and a holder could be asked for what others do not bring.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qres_fed::id::NodeId;

use super::{Board, Key, SESSIONS_PER_BLOB_MAX, SLOW_AFTER};

/// Bytes a second that keep a session while others wait. All eight at this rate are 4 Mbit/s.
pub(super) const LEAST_RATE: u64 = 64 * 1024;

/// A blob, and who is asked for it.
pub(super) type Session = (Key, NodeId);

/// What came over the sessions, in windows: a burst at the start pays for no drops later.
#[derive(Default)]
pub(super) struct Crowd {
    windows: BTreeMap<Session, Window>,
    /// It was told to make room: one at a time.
    leaving: Option<Session>,
}

struct Window {
    started: Instant,
    began: Instant,
    /// Bytes that had come when it began.
    before: u64,
}

impl Crowd {
    pub(super) fn started(&mut self, session: Session, now: Instant) {
        let window = Window {
            started: now,
            began: now,
            before: 0,
        };
        self.windows.insert(session, window);
    }

    pub(super) fn ended(&mut self, session: Session) {
        self.windows.remove(&session);
        self.leaving = self.leaving.filter(|leaving| *leaving != session);
    }

    /// When windows end, while it matters.
    pub(super) fn ends(&self) -> impl Iterator<Item = Instant> {
        let crowded = self.windows.len() >= SESSIONS_PER_BLOB_MAX;
        let windows = self.windows.values().filter(move |_| crowded);
        windows.map(|window| window.began + SLOW_AFTER)
    }

    /// The youngest of the sessions that are slow. Not the slowest: on a slow link all are, and then the older ones, whose
    /// segments are nearly here, must get through.
    fn youngest_slow(&mut self, now: Instant, received: impl Fn(Session) -> u64, of: Option<Key>) -> Option<Session> {
        let mut youngest: Option<(Instant, Session)> = None;
        for (session, window) in &mut self.windows {
            let elapsed = now.saturating_duration_since(window.began);
            if elapsed < SLOW_AFTER || of.is_some_and(|key| key != session.0) {
                continue;
            }
            let came = received(*session);
            if is_slow(came.saturating_sub(window.before), elapsed) {
                youngest = youngest.max(Some((window.started, *session)));
            } else {
                (window.began, window.before) = (now, came);
            }
        }
        youngest.map(|(_, session)| session)
    }
}

fn is_slow(bytes: u64, within: Duration) -> bool {
    u128::from(bytes) * 1000 < u128::from(LEAST_RATE) * within.as_millis()
}

impl Board {
    /// The session that is to end, because it is slow and a holder waits to be asked: for any blob when there is no session
    /// left, for the same blob when it has all that a blob may have. `received` tells the bytes that came over a session.
    pub(crate) fn makes_room(
        &mut self,
        connected: &[NodeId],
        now: Instant,
        missing: impl Fn(Key) -> usize,
        received: impl Fn(Session) -> u64,
    ) -> Option<Session> {
        if self.crowd.leaving.is_some() {
            return None;
        }
        let keys: Vec<Key> = self.wants.iter().map(|(n, entry)| entry.key(*n)).collect();
        let waits = |board: &Self, key, per_blob| board.holder(key, connected, now, &missing, per_blob).is_some();
        let asked = |board: &Self, key: &Key| board.wants.get(&key.number).map_or(0, |entry| entry.asking.len());
        let mut leaving = None;
        if self.full() && keys.iter().any(|key| waits(self, *key, SESSIONS_PER_BLOB_MAX)) {
            leaving = self.crowd.youngest_slow(now, &received, None);
        }
        for key in keys {
            let crowded = asked(self, &key) >= SESSIONS_PER_BLOB_MAX && waits(self, key, SESSIONS_PER_BLOB_MAX + 1);
            if leaving.is_none() && crowded {
                leaving = self.crowd.youngest_slow(now, &received, Some(key));
            }
        }
        self.crowd.leaving = leaving;
        leaving
    }
}

#[cfg(test)]
mod tests;
