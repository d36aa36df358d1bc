//! The two clocks of a node: a monotonic one for decisions, the wall's for people.

use qres_fed::id::Instant;

/// Stands for an instant beyond what the clock can tell.
const FAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 60 * 60);

/// Milliseconds since the node started: what `fed` calls now.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// Starts at 0.
    pub fn start() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }

    /// Now.
    pub fn now(&self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The same point for tokio's timers.
    pub fn deadline(&self, at: Instant) -> tokio::time::Instant {
        let at = self.origin.checked_add(std::time::Duration::from_millis(at.0));
        tokio::time::Instant::from_std(at.unwrap_or_else(|| std::time::Instant::now() + FAR))
    }
}

/// Milliseconds since 1970 on the wall clock: it informs people, and orders nothing but the revisions of starts on a full disk.
pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
