//! Times that several subjects of the machine share.

/// Delay in milliseconds that is assumed before one is measured: once around the world.
pub(in crate::round) const DELAY_MS_DEFAULT: u64 = 100;
/// Milliseconds before a failed job is tried again: a full disk does not empty faster.
pub(in crate::round) const RETRY_MS: u64 = 1_000;
