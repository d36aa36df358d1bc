//! Telemetry against the real programs: an OpenTelemetry Collector and a Prometheus. `make otel-test` sets both up.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

mod collector;
mod file;
mod needs_otel;
mod program;
mod prometheus;
mod rules;
mod swarm;
