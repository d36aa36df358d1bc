//! The metrics of TLS and callers.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The metrics of TLS and callers. Clones share the same values.
#[derive(Debug, Clone, Default)]
pub struct SecurityMetrics {
    expiry: Gauge<i64, AtomicI64>,
    failing: Gauge<i64, AtomicI64>,
    failures: Counter,
}

impl SecurityMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "qres_tls_certificate_expiry_timestamp",
            "Time at which the server's certificate, or one above it in its chain, ends, in seconds since 1970; 0 without TLS",
            Unit::Seconds,
            metrics.expiry.clone(),
        );
        registry.register(
            "qres_security_files_refused",
            "1 while a file of TLS or of callers has changed and cannot be used, so that the earlier ones stay in use",
            metrics.failing.clone(),
        );
        registry.register(
            "qres_security_reload_failures",
            "Times that a changed file of TLS or of callers could not be used",
            metrics.failures.clone(),
        );
        metrics
    }

    /// Notes that the files are in use, and the end of the certificate.
    pub(crate) fn taken(&self, expiry: Option<i64>) {
        self.expiry.set(expiry.unwrap_or(0));
        self.failing.set(0);
    }

    /// Notes that the files are again the ones in use.
    pub(crate) fn mended(&self) {
        self.failing.set(0);
    }

    /// Notes a changed file that cannot be used.
    pub(crate) fn failed(&self) {
        self.failing.set(1);
        self.failures.inc();
    }

    /// Returns true while a changed file cannot be used.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.get() == 1
    }

    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.failures.get()
    }
}
