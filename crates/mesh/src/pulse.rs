//! The sign of life of the actor's loop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time at which the loop ticked last.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    /// Milliseconds from the origin to the last tick.
    last: AtomicU64,
}

impl Pulse {
    /// Makes the pulse of a loop that starts now.
    pub fn new(now: Instant) -> Self {
        Self {
            origin: now,
            last: AtomicU64::new(0),
        }
    }

    /// Notes a tick.
    pub fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.origin).as_millis();
        self.last
            .store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the time since the last tick.
    pub fn silent(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        now.saturating_duration_since(self.origin).saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    #[test]
    fn the_silence_begins_at_the_last_beat() {
        let start = clock::now();
        let pulse = Pulse::new(start);
        assert_eq!(pulse.silent(start + Duration::from_secs(9)), Duration::from_secs(9));
        pulse.beat(start + Duration::from_secs(5));
        assert_eq!(pulse.silent(start + Duration::from_secs(9)), Duration::from_secs(4));
    }
}
