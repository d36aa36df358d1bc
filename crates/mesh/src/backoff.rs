//! The wait before a new try.

use std::time::{Duration, Instant};

/// A wait that doubles with every failure, with jitter.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    failures: u32,
    next: Instant,
}

impl Backoff {
    /// Makes a [`Backoff`] whose first try is due at once.
    pub fn new(now: Instant) -> Self {
        Self { failures: 0, next: now }
    }

    /// Returns the number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns true if a try is due.
    pub fn due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// Returns the time of the next try.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Returns the wait after this many failures, without jitter.
    pub fn wait(failures: u32, min: Duration, max: Duration) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        min.saturating_mul(1 << doublings).min(max)
    }

    /// Notes a failure. The wait is `min` the first time, then doubles up to `max`. The random `jitter`, from 0 to 1,
    /// shortens it to between half and all of it, so that two nodes that failed together do not try together. Returns the
    /// wait without jitter.
    pub fn fail(&mut self, min: Duration, max: Duration, jitter: f64, now: Instant) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = Self::wait(self.failures, min, max);
        self.next = now + wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        wait
    }

    /// Notes a success. After a later break the next try is due after the part `jitter` of `min`.
    pub fn reset(&mut self, min: Duration, jitter: f64, now: Instant) {
        self.failures = 0;
        self.next = now + min.mul_f64(jitter.clamp(0.0, 1.0));
    }

    /// Puts the next try off to the time `at` at the earliest.
    pub fn not_before(&mut self, at: Instant) {
        self.next = self.next.max(at);
    }
}

/// Returns a random number from 0 to 1 that spreads waits.
pub fn jitter() -> f64 {
    rand::random_range(0.0..1.0)
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_over_after_a_success() {
        let now = clock::now();
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(now);
        assert!(backoff.due(now));
        let waits: Vec<u64> = (0..8).map(|_| backoff.fail(min, max, 1.0, now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(!backoff.due(now + Duration::from_secs(59)) && backoff.due(now + Duration::from_secs(60)));
        backoff.fail(min, max, 0.0, now);
        assert!(backoff.due(now + Duration::from_secs(30)), "jitter takes at most half");
        backoff.reset(min, 0.5, now);
        assert_eq!(backoff.failures(), 0);
        assert!(backoff.due(now + Duration::from_millis(500)));
        for _ in 0..1000 {
            backoff.fail(min, max, 1.0, now);
        }
        assert_eq!(Backoff::wait(backoff.failures(), min, max), max);
    }
}
