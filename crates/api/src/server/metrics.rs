//! The metrics of all calls, after OpenTelemetry's RPC conventions.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper ends of the histogram's buckets, in seconds, as the RPC conventions advise, and of 1 and 10 minutes for calls that
/// wait.
const BUCKETS_S: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 60.0, 600.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    pub(super) rpc_method: &'static str,
    pub(super) rpc_response_status_code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    limit: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Denied {
    cause: &'static str,
}

/// Names of the limits at which calls and connections are refused.
const LIMITS: [&str; 9] = [
    "uploads",
    "watches",
    "waits",
    "calls",
    "probes",
    "requests",
    "connections",
    "descriptors",
    "rate",
];
/// Causes for which callers are denied.
const DENIALS: [&str; 4] = ["no_credential", "token", "certificate", "role"];
/// Causes for which calls are ended.
const CAUSES: [&str; 3] = ["slow_upload", "slow_request", "unread_answer"];

/// The metrics of all calls. Clones share the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) duration: Family<Call, Histogram, fn() -> Histogram>,
    refused: Family<Refused, Counter>,
    ended: Family<Ended, Counter>,
    denied: Family<Denied, Counter>,
    pub(super) active: Gauge<i64, AtomicI64>,
    connections: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    /// Makes metrics that are in no [`Registry`].
    fn default() -> Self {
        Self {
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS_S)),
            refused: Family::default(),
            ended: Family::default(),
            denied: Family::default(),
            active: Gauge::default(),
            connections: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Makes metrics and registers them in a [`Registry`].
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // Each series begins at 0: otherwise a rate misses the first event.
        for limit in LIMITS {
            drop(metrics.refused.get_or_create(&Refused { limit }));
        }
        for cause in CAUSES {
            drop(metrics.ended.get_or_create(&Ended { cause }));
        }
        for cause in DENIALS {
            drop(metrics.denied.get_or_create(&Denied { cause }));
        }
        registry.register_with_unit(
            "rpc_server_call_duration",
            "Time from a call's first byte to the end of its answer, by method and code",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "rpc_server_refused_calls",
            "Calls and connections refused because the node, or the caller's connection, was at a limit",
            metrics.refused.clone(),
        );
        registry.register(
            "rpc_server_ended_calls",
            "Calls ended because their caller sent or read nothing for too long, by cause",
            metrics.ended.clone(),
        );
        registry.register(
            "rpc_server_denied_calls",
            "Calls refused for who makes them, by cause",
            metrics.denied.clone(),
        );
        registry.register(
            "rpc_server_connections",
            "Callers' connections that are open",
            metrics.connections.clone(),
        );
        registry.register(
            "rpc_server_active_calls",
            "Calls that have begun and not ended, open streams included",
            metrics.active.clone(),
        );
        metrics
    }

    pub(super) fn refuse(&self, limit: &'static str) {
        self.refused.get_or_create(&Refused { limit }).inc();
    }

    pub(super) fn end(&self, cause: &'static str) {
        self.ended.get_or_create(&Ended { cause }).inc();
    }

    pub(super) fn deny(&self, cause: &'static str) {
        self.denied.get_or_create(&Denied { cause }).inc();
    }

    pub(super) fn connect(&self) {
        self.connections.inc();
    }

    pub(super) fn disconnect(&self) {
        self.connections.dec();
    }
}
