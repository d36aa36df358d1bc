//! Time that merges and aggregations share.

/// Milliseconds before a failed job is tried again: a full disk does not empty faster.
pub(in crate::round) const RETRY_MS: u64 = 1_000;

/// Minimum number of rounds kept below the last settled one beyond `max_staleness`, independent of the
/// configuration. A contribution that may be listed so late is held until its fate is final, and the
/// votes that settled a round stay to tell others.
pub(in crate::round) const MARGIN_ROUNDS: u64 = 2;
