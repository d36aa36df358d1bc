//! `qres-daemon`: a node of a QRES swarm.
//!
//! Architecture invariant: this crate is the only place where everything is composed, and the only one that reads files,
//! environment and flags. The other crates get plain values.

mod admin;
mod args;
mod banner;
mod callers;
mod config;
mod doctor;
mod health;
mod memory;
mod network_key;
mod run;
mod security;
mod security_metrics;
mod settings;
mod signal;
mod socket;
mod telemetry;

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use qres_node::descriptors;

use crate::args::Args;
use crate::config::{Config, Environment};
use crate::doctor::DESCRIPTORS_LOW;
use crate::telemetry::Telemetry;

/// Exit code after a failure while the daemon ran.
const FAILED: u8 = 1;
/// Exit code for a wrong configuration; clap uses the same code for a wrong command line.
const MISCONFIGURED: u8 = 2;

fn main() -> ExitCode {
    memory::limit_arenas();
    // The outcome is logged by `log_descriptors`, once there is a log.
    let raised = descriptors::raise_limit();
    let args = Args::parse();
    if args.man {
        // A write fails if the reader of stdout hung up: that reader has read enough.
        let page = args::manual().unwrap_or_default();
        let _ = std::io::stdout().write_all(&page);
        return ExitCode::SUCCESS;
    }
    let env = environment();
    let (config, layers) = match Config::load(&args, &env) {
        Ok(loaded) => loaded,
        Err(error) => return fail(MISCONFIGURED, error),
    };
    if args.check_config {
        // A write fails if the reader of stdout hung up: that reader has read enough.
        let _ = std::io::stdout().write_all(config::report(&config, &layers).as_bytes());
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILED, format!("no threads to run on: {error}")),
    };
    if args.doctor {
        let findings = runtime.block_on(doctor::preflight(&config, &env));
        // A write fails if the reader of stdout hung up: that reader has read enough.
        let _ = std::io::stdout().write_all(doctor::report(&findings).as_bytes());
        // A check that hangs in a file system does not keep the process.
        runtime.shutdown_background();
        return ExitCode::from(if doctor::is_healthy(&findings) { 0 } else { FAILED });
    }
    let outcome = runtime.block_on(compose(config, &env, raised));
    // Tasks that still run have had their time, so this does not wait for them.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILED, format!("{error:#}")),
    }
}

async fn compose(config: Config, env: &Environment, raised: std::io::Result<()>) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&config, env)?;
    log_descriptors(raised);
    let shutdown = signal::shutdown_token()?;
    let outcome = run::run(config, env, shutdown).await;
    // Flushing blocks, and the exporter's connection needs this runtime's threads meanwhile.
    tokio::task::spawn_blocking(|| telemetry.flush()).await?;
    outcome
}

fn log_descriptors(raised: std::io::Result<()>) {
    let limit = descriptors::count().limit;
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised to the hard limit");
    }
    if limit < DESCRIPTORS_LOW {
        tracing::warn!(
            limit,
            "few file descriptors: with many peers or callers new connections are turned away; raise the hard limit \
             (`ulimit -Hn`, systemd's LimitNOFILE=) to {DESCRIPTORS_LOW} or more"
        );
    } else {
        tracing::info!(limit, "file descriptors");
    }
}

/// Returns the process's [`Environment`] without the variables that are not UTF-8, which cannot be settings.
fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn fail(code: u8, error: impl Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "qres-daemon: {error}");
    ExitCode::from(code)
}
