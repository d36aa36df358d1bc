//! The two clocks of a node: a monotonic one for decisions, and the wall clock for people. No other place reads a clock
//! (`clippy.toml` forbids it), so that a function that decides by time takes the time as an argument.

use qres_fed::id::Instant;

/// Time from now, one year, that stands for an instant beyond the range of the clock.
const FAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 60 * 60);

/// A monotonic clock that counts the milliseconds since the node started: its time is the [`Instant`] of `fed`.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// Starts a clock at 0 ms.
    pub fn start() -> Self {
        Self { origin: now() }
    }

    /// Returns the milliseconds since the clock was started.
    pub fn now(&self) -> Instant {
        Instant(u64::try_from((now() - self.origin).as_millis()).unwrap_or(u64::MAX))
    }

    /// Converts a time of this clock to tokio's timers. A time beyond their range becomes one year from now.
    pub fn deadline(&self, at: Instant) -> tokio::time::Instant {
        let at = self.origin.checked_add(std::time::Duration::from_millis(at.0));
        tokio::time::Instant::from_std(at.unwrap_or_else(|| now() + FAR))
    }
}

/// Returns the present moment of the monotonic clock. In a test that pauses tokio's time, this clock stands still as
/// the timers do.
pub fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the milliseconds since 1970 on the wall clock. This time informs people; it orders nothing but the revisions
/// of starts on a full disk.
#[allow(clippy::disallowed_methods, reason = "this is the clock that the others are sent to")]
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
