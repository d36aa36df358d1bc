//! The difference between a peer's clock and this node's, from the times that the peer signs into its hellos and heartbeats.
//!
//! A peer signs its run anew for each message, so the time is that of sending. It arrives later, so each sample shows the peer's
//! clock as more behind than it is, by the time that the message was under way. The sample that was under way for the shortest
//! time is the best one: it is the greatest.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples kept for one peer, some 16 bytes each. Heartbeats come every 5 s, so the samples cover the last 40 s at least.
const SAMPLES_MAX: usize = 8;

/// Time after which a sample no longer counts: one of the clocks may have been set since. In a swarm of 1,000 nodes a heartbeat
/// comes every 50 s.
const SAMPLE_KEPT: Duration = Duration::from_mins(5);

/// The samples of one peer's clock.
#[derive(Debug, Clone, Default)]
pub struct ClockOffset {
    /// When each sample arrived, and by how many milliseconds the peer's clock was ahead.
    samples: VecDeque<(Instant, i64)>,
}

impl ClockOffset {
    /// Notes a time that the peer signed, both times in Unix ms.
    pub fn note(&mut self, signed_unix_ms: u64, here_unix_ms: u64, now: Instant) {
        let ms = |unix: u64| i64::try_from(unix).unwrap_or(i64::MAX);
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples
            .push_back((now, ms(signed_unix_ms).saturating_sub(ms(here_unix_ms))));
    }

    /// Returns by how many milliseconds the peer's clock is ahead, `None` without a recent sample.
    pub fn ahead_ms(&self, now: Instant) -> Option<i64> {
        let recent = self
            .samples
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= SAMPLE_KEPT);
        recent.map(|(_, ahead)| *ahead).max()
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    #[test]
    fn the_message_that_was_under_way_for_the_shortest_time_tells_the_difference() {
        let now = clock::now();
        let mut offset = ClockOffset::default();
        assert_eq!(offset.ahead_ms(now), None);
        // The peer's clock is 90 s ahead; the messages take 700, 20 and 3,000 ms.
        for (sent, way) in [(1_000_000, 700), (1_005_000, 20), (1_010_000, 3_000)] {
            offset.note(sent + 90_000, sent + way, now);
        }
        assert_eq!(offset.ahead_ms(now), Some(89_980));
        let mut behind = ClockOffset::default();
        behind.note(1_000, 61_050, now);
        assert_eq!(behind.ahead_ms(now), Some(-60_050));
    }

    #[test]
    fn old_samples_and_hostile_times_do_no_harm() {
        let now = clock::now();
        let mut offset = ClockOffset::default();
        offset.note(u64::MAX, 0, now);
        offset.note(0, u64::MAX, now);
        assert_eq!(offset.ahead_ms(now), Some(i64::MAX));
        let later = now + SAMPLE_KEPT + Duration::from_millis(1);
        assert_eq!(
            offset.ahead_ms(later),
            None,
            "a clock that was set since counts from its next message on"
        );
        for n in 0..100 {
            offset.note(n, 0, later);
        }
        assert_eq!((offset.samples.len(), offset.ahead_ms(later)), (SAMPLES_MAX, Some(99)));
    }
}
