//! The rate of calls of each caller.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Number of callers after which those that have not called for a while are forgotten. A CA may sign any number of names.
const CALLERS_KEPT: usize = 4096;

/// Limits the calls a second of each caller, by its name. A caller may save up one second's calls.
#[derive(Debug)]
pub(super) struct Rate {
    limiter: DefaultKeyedRateLimiter<String>,
    calls: AtomicUsize,
    clock: DefaultClock,
}

impl Rate {
    pub(super) fn new(calls_per_s: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(calls_per_s)),
            calls: AtomicUsize::new(0),
            clock: DefaultClock::default(),
        }
    }

    /// Counts a call. Returns the time after which to try again if the caller is over its rate.
    pub(super) fn count(&self, caller: &str) -> Result<(), Duration> {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(CALLERS_KEPT) && self.limiter.len() >= CALLERS_KEPT
        {
            self.limiter.retain_recent();
        }
        self.limiter
            .check_key(&caller.to_owned())
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_s_calls_cost_another_nothing() {
        let rate = Rate::new(NonZeroU32::new(2).unwrap());
        assert_eq!((rate.count("a"), rate.count("a")), (Ok(()), Ok(())));
        let wait = rate.count("a").unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        assert_eq!(rate.count("b"), Ok(()));
    }

    #[test]
    fn callers_that_were_quiet_are_forgotten() {
        let rate = Rate::new(NonZeroU32::MAX);
        for caller in 0..3 * CALLERS_KEPT {
            rate.count(&caller.to_string()).unwrap();
        }
        assert!(rate.limiter.len() <= 2 * CALLERS_KEPT, "{}", rate.limiter.len());
    }
}
