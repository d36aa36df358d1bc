//! Selects the session that ends when there are as many sessions as may be, and a holder could be asked for a blob that
//! the other sessions do not bring.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use qres_fed::id::NodeId;

use super::key::Key;
use super::limits::{SESSIONS_PER_BLOB_MAX, SLOW_AFTER};

/// Rate in bytes a second at which a session stays while holders wait. All eight sessions at this rate are 4 Mbit/s.
pub(super) const LEAST_RATE: u64 = 64 * 1024;

/// A blob, and the peer that is asked for it.
pub(super) type Session = (Key, NodeId);

/// Bytes that came over the sessions, counted in windows of time: a burst at the start does not pay for drops later.
#[derive(Default)]
pub(super) struct Crowd {
    windows: BTreeMap<Session, Window>,
    /// The session that was told to make room: only one at a time.
    pub(super) leaving: Option<Session>,
}

struct Window {
    started: Instant,
    began: Instant,
    /// Bytes that had come over the session when the window began.
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

    /// Returns the ends of the windows. There are none while fewer than [`SESSIONS_PER_BLOB_MAX`] sessions are under way,
    /// because then no session has to make room.
    pub(super) fn ends(&self) -> impl Iterator<Item = Instant> {
        let crowded = self.windows.len() >= SESSIONS_PER_BLOB_MAX;
        let windows = self.windows.values().filter(move |_| crowded);
        windows.map(|window| window.began + SLOW_AFTER)
    }

    /// Returns the youngest of the slow sessions (with `of`, of that blob alone). The youngest is chosen and not the
    /// slowest: on a slow link all sessions are slow, and then the older ones, whose segments are nearly here, must get
    /// through.
    pub(super) fn youngest_slow(
        &mut self,
        now: Instant,
        received: impl Fn(Session) -> u64,
        of: Option<Key>,
    ) -> Option<Session> {
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
