//! Time that merges and aggregations share.

/// Milliseconds before a failed job is tried again: a full disk does not empty faster.
pub(in crate::round) const RETRY_MS: u64 = 1_000;
