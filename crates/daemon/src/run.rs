//! Composes a node, its gRPC API and its metrics, and takes them apart again within a deadline.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use prometheus_client::registry::Registry;
use qres_api::server;

use qres_node::mesh::{self, MeshConfig};
use qres_node::{MembersPolicy, NodeConfig, NodeHandle, identity};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::banner::{READY, banner};
use crate::callers;
use crate::config::{Config, Environment, GrpcConfig, MembersChange, Mode, Retention};
use crate::health::{Health, Running};
use crate::security_metrics::SecurityMetrics;
use crate::telemetry::FLUSH_MAX;
use crate::{doctor, network_key, security, socket};

/// Most time from the first signal to the end of the process, telemetry's flush included. Kubernetes allows 30 s by default.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(10);
/// The part of [`SHUTDOWN_MAX`] for calls that are running; the node needs the rest to tell its peers and close its store.
const CALLS_MAX: Duration = Duration::from_secs(5);
/// The part of [`SHUTDOWN_MAX`] in which acknowledged submissions are merged and sent.
const MERGE_MAX: Duration = Duration::from_secs(2);
/// Name of the file of routing hints, in the data directory.
const HINTS_FILE: &str = "routing.hints";

/// Runs a daemon with this [`Config`] until `shutdown` is cancelled. Returns an error if a port cannot be listened on, if
/// the node fails, or if the gRPC server ends by itself.
pub async fn run(config: Config, env: &Environment, shutdown: CancellationToken) -> anyhow::Result<()> {
    // The ports come first: a port that is taken is the likeliest failure, and here nothing else has been touched yet.
    let grpc = listen(config.grpc.addr).await?;
    let unix = config.grpc.socket.as_deref().map(socket::bind).transpose()?;
    // The file is removed when the daemon ends.
    let (unix, _socket_file) = unix.map_or((None, None), |(listener, file)| (Some(listener), Some(file)));
    let admin = match config.admin_addr {
        Some(address) => Some(admin::bind(address).await?),
        None => None,
    };
    let grpc_addr = grpc.local_addr()?;
    let admin_addr = admin.as_ref().map(TcpListener::local_addr).transpose()?;
    // The admin port answers from here on, and to the very end: a stop shows there at once.
    let health = Arc::new(Health::new(shutdown.clone()));
    let _admin = admin.map(|listener| admin::spawn(listener, health.clone()));

    let mut registry = Registry::default();
    let security_metrics = SecurityMetrics::register(&mut registry);
    let (security, follow) = security::start(config.grpc.security.clone(), security_metrics.clone(), shutdown.clone())
        .map_err(|problem| anyhow!("TLS and callers: {problem}"))?;
    tokio::spawn(follow);
    let mut options = options(&config.grpc, security, &mut registry);
    let node = NodeHandle::start(node_config(&config)?).await?;
    node.register_metrics(&mut registry);
    options.surroundings = doctor::surroundings(&config, env, &node, (grpc_addr, admin_addr), security_metrics);
    let calls = CancellationToken::new();
    let mut serving = tokio::spawn(server::serve(
        node.clone(),
        server::Listeners { tcp: grpc, unix },
        options,
        calls.clone().cancelled_owned(),
    ));
    health.started(Running {
        node: node.clone(),
        registry,
        grpc: serving.abort_handle(),
    });
    announce(&node, grpc_addr, admin_addr, &config).await?;

    let mut failed = None;
    let ended = tokio::select! {
        () = shutdown.cancelled() => None,
        why = node.failed() => {
            failed = Some(why);
            None
        }
        ended = &mut serving => Some(ended),
    };
    let unasked = ended.is_some();
    let stop = async {
        // From here on new submissions are refused, and calls that wait are told to use another node.
        // Merging gets a part of the time; submissions that are not merged by then are on the disk for the next start.
        let _ = tokio::time::timeout(MERGE_MAX, node.drain()).await;
        calls.cancel();
        let served = match ended {
            Some(ended) => ended,
            None => serving.await,
        };
        node.stop().await;
        served
    };
    match tokio::time::timeout(SHUTDOWN_MAX - FLUSH_MAX, stop).await {
        Ok(served) => served
            .context("the gRPC server panicked")?
            .context("the gRPC server failed")?,
        Err(_) => tracing::warn!("the node did not stop in time: ending; what was acknowledged is on disk"),
    }
    if let Some(why) = failed {
        return Err(anyhow!(
            "the node failed: {why}; start it again, what was acknowledged is on disk"
        ));
    }
    if unasked {
        return Err(anyhow!("the gRPC server ended by itself"));
    }
    Ok(())
}

/// Returns the options of the gRPC server.
fn options(grpc: &GrpcConfig, security: server::SecurityNow, registry: &mut Registry) -> server::Options {
    server::Options {
        limits: server::Limits {
            connections: callers::connections(grpc.connections_max),
            calls: grpc.calls_max,
            calls_per_s: grpc.rate_max,
            ..server::Limits::default()
        },
        streams_per_connection_max: grpc.streams_max,
        drain: CALLS_MAX,
        security,
        metrics: server::Metrics::register(registry),
        surroundings: server::Surroundings::default(),
    }
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "gRPC cannot listen on {address}: choose another with --grpc-addr (port 0 picks one); a second node on one \
             machine needs its own --grpc-addr, --port and --data-dir"
        )
    })
}

/// Prints the [`banner`] with identity and addresses of the node, then [`READY`].
async fn announce(
    node: &NodeHandle,
    grpc: SocketAddr,
    admin: Option<SocketAddr>,
    config: &Config,
) -> anyhow::Result<()> {
    let view = node.node().await?;
    let text = banner(&view, grpc, &config.grpc, admin, &config.data_dir);
    // A write fails if the parent process closed stdout. The node runs all the same.
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}{READY}").and_then(|()| out.flush());
    Ok(())
}

/// Converts the daemon's [`Config`] to the [`NodeConfig`].
fn node_config(config: &Config) -> anyhow::Result<NodeConfig> {
    Ok(NodeConfig {
        data_dir: config.data_dir.clone(),
        identity_file: config.identity_file.clone(),
        mesh: mesh_config(config)?,
        trainers: config.trainers,
        join: config.join.clone(),
        creators: config
            .creators
            .iter()
            .filter_map(|node| identity::parse(node))
            .collect(),
        trust: config.trust.iter().filter_map(|node| identity::parse(node)).collect(),
        keep_rounds: match config.retention {
            Retention::All => None,
            Retention::Rounds(rounds) => Some(rounds),
        },
        members: match config.members_change {
            MembersChange::Follow => MembersPolicy::Follow,
            MembersChange::Ask => MembersPolicy::Ask,
            MembersChange::Never => MembersPolicy::Never,
        },
        blob_bytes_max: config.blob_bytes_max,
        header_bytes_max: config.header_bytes_max,
    })
}

fn mesh_config(config: &Config) -> anyhow::Result<MeshConfig> {
    let mode = match config.mode {
        Mode::Node => mesh::Mode::Node,
        Mode::Bootstrap => mesh::Mode::Bootstrap,
    };
    let allowed: BTreeSet<_> = config.allowed.iter().filter_map(|id| mesh::check_peer(id)).collect();
    Ok(MeshConfig {
        network_key: config
            .network_key
            .as_deref()
            .map(network_key::read)
            .transpose()
            .map_err(|problem| anyhow!(problem))?,
        allowed: (!allowed.is_empty()).then_some(allowed),
        listen: config.listen.clone(),
        port: config.port,
        bootstrap: config.bootstrap.clone(),
        announce: config.announce.clone(),
        network: config.network.clone(),
        agent: concat!("qres-daemon/", env!("CARGO_PKG_VERSION")).to_owned(),
        connections_max: config.connections_max,
        ..MeshConfig::new(mode, config.data_dir.join(HINTS_FILE))
    })
}
