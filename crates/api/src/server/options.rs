//! The options of the server.

use std::time::Duration;

use super::limits::Limits;
use super::metrics::Metrics;
use super::security::{self, Security, SecurityNow};
use super::surroundings::Surroundings;

/// The options of [`serve`](super::serve()).
#[derive(Debug, Clone)]
pub struct Options {
    /// The [`Limits`] of callers.
    pub limits: Limits,
    /// Most streams at the same time on one connection; further ones wait in the caller.
    pub streams_per_connection_max: u32,
    /// Time that calls may take to end after the shutdown signal; then they are cut.
    pub drain: Duration,
    /// Who may call, and TLS.
    pub security: SecurityNow,
    /// The [`Metrics`] that count the calls.
    pub metrics: Metrics,
    /// The checks of the process around the node, for a diagnosis.
    pub surroundings: Surroundings,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            streams_per_connection_max: 256,
            drain: Duration::from_secs(10),
            security: security::fixed(Security::default()),
            metrics: Metrics::default(),
            surroundings: Surroundings::default(),
        }
    }
}
