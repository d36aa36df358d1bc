//! The limits of the sessions of downloads.

use std::time::Duration;

/// Download sessions under way at once: the link and the disk limit how fast this node takes bytes in, not the number of
/// sessions.
pub(super) const SESSIONS_MAX: usize = 8;
/// Sessions at once with one holder: with two, the next small blob need not wait for a large one.
pub(super) const SESSIONS_PER_HOLDER_MAX: usize = 2;
/// Sessions at once for one blob.
pub(super) const SESSIONS_PER_BLOB_MAX: usize = 3;
/// Time after which another peer is asked too, for a blob of any size, so that a holder that only drips does not hold up
/// the download.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(5);
