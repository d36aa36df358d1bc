//! The store's monotonic clock. The store knows no tokio, so it reads the system's clock.

use std::time::Instant;

/// Returns the present moment.
#[allow(clippy::disallowed_methods, reason = "this is the store's one clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
