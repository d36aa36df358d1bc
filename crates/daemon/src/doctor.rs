//! The doctor: checks of the process, its files and its machine, in words for an operator. `qres-daemon --doctor` makes those that
//! need no running node, and a running node makes the others for `DiagnoseNode`; both share the files below.

mod blocking;
mod collector;
mod data_dir;
mod descriptors;
mod disk;
mod ports;
mod report;
mod seeds;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use qres_api::server::Surroundings;
use qres_node::NodeHandle;
use qres_node::finding::Finding;

use self::blocking::blocking;
pub use self::descriptors::LOW as DESCRIPTORS_LOW;
pub use self::report::{is_healthy, report};
use crate::config::{Config, Environment};
use crate::security_metrics::SecurityMetrics;
use crate::telemetry;

/// Makes the checks that need no running node, and changes nothing.
pub async fn preflight(config: &Config, env: &Environment) -> Vec<Finding> {
    let (directory, in_use) = blocking({
        let config = config.clone();
        move || data_dir::before_start(&config)
    })
    .await;
    let mut all = vec![Finding::ok(
        "configuration",
        "every setting can be read and is possible",
    )];
    all.extend(ports::before_start(config, in_use));
    all.extend(directory);
    let endpoint = telemetry::collector(env);
    let (files, speed, collector, seeds) = tokio::join!(
        files(config),
        disk::speed(&config.data_dir),
        collector::finding(endpoint),
        seeds::finding(&config.bootstrap),
    );
    all.extend([disk::space_before_start(&config.data_dir), speed]);
    all.extend(files);
    all.extend([descriptors::finding(), collector, seeds]);
    all
}

/// A running node, as far as this process knows more of it than the node itself.
struct Running {
    config: Config,
    endpoint: Result<Option<String>, String>,
    node: NodeHandle,
    grpc: SocketAddr,
    admin: Option<SocketAddr>,
    security: SecurityMetrics,
}

/// Returns the checks around a running node, which listens for callers on `grpc` and `admin`.
pub fn surroundings(
    config: &Config,
    env: &Environment,
    node: &NodeHandle,
    (grpc, admin): (SocketAddr, Option<SocketAddr>),
    security: SecurityMetrics,
) -> Surroundings {
    let running = Arc::new(Running {
        config: config.clone(),
        endpoint: telemetry::collector(env),
        node: node.clone(),
        grpc,
        admin,
        security,
    });
    Surroundings::new(move || around(running.clone()))
}

async fn around(running: Arc<Running>) -> Vec<Finding> {
    let config = &running.config;
    let directory = blocking({
        let config = config.clone();
        move || data_dir::of_running(&config)
    });
    let (directory, files, speed, collector, view) = tokio::join!(
        directory,
        files(config),
        disk::speed(&config.data_dir),
        collector::finding(running.endpoint.clone()),
        running.node.node(),
    );
    let mut all = ports::of_running(&config.grpc, running.grpc, running.admin);
    all.extend(directory);
    // The node answers unless it has stopped, and then this is not read.
    all.extend(view.map(|view| disk::space(Some(view.disk), view.disk.free)));
    all.push(speed);
    all.extend(files);
    if running.security.is_failing() {
        all.push(tls::refused_change());
    }
    all.extend([descriptors::finding(), collector]);
    all
}

/// Makes the checks of the files of TLS, of callers and of the network's key.
async fn files(config: &Config) -> Vec<Finding> {
    let config = config.clone();
    blocking(move || tls::findings(&config)).await
}
