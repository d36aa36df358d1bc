//! The services over a node's handle, and how they are served.

mod field;
mod layer;
mod message;
mod model;
mod node;
mod page;
mod peer;
mod reflection;
mod round;
mod state;
mod status;
mod stop;
mod submission;
mod upload;
mod watch;
mod weights;

use std::future::Future;
use std::time::Duration;

use qres_node::handle::NodeHandle;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceBuilder;

pub use layer::metrics::Metrics;
use stop::Stop;

use crate::pb;

/// Bytes of one message of the services that take data: gRPC's usual limit, four chunks.
const DATA_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one message of all other services: the longest, a name with two ids and a page token, has about 2 KiB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Flow-control window of one stream: at 100 ms round-trip time 8 MiB still allow 80 MB/s.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Window of a connection: one slow stream of four cannot starve the others.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
/// A caller that vanished without a word is noticed after this and half as long again.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// How the services are served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Calls at the same time on the whole node, open streams included; more are UNAVAILABLE.
    pub calls_max: usize,
    /// Uploads at the same time. Worst-case memory is this many times a message (4 MiB).
    pub uploads_max: usize,
    /// Streams at the same time on one connection; more wait in the caller.
    pub streams_per_connection_max: u32,
    /// After the shutdown signal calls may take this long to end, then they are cut.
    pub drain: Duration,
    /// Where calls are counted.
    pub metrics: Metrics,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            calls_max: 1024,
            uploads_max: 64,
            streams_per_connection_max: 256,
            drain: Duration::from_secs(10),
            metrics: Metrics::default(),
        }
    }
}

/// What every service holds.
#[derive(Clone)]
struct Api {
    node: NodeHandle,
    stop: Stop,
}

/// Serves `node` on `listener` until `shutdown` or the node's own stopping; then long streams end with UNAVAILABLE and
/// the others get `options.drain` to end.
pub async fn serve<F>(
    node: NodeHandle,
    listener: TcpListener,
    options: Options,
    shutdown: F,
) -> Result<(), tonic::transport::Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = Stop::when(shutdown, node.stopping());
    let (health, health_service) = tonic_health::server::health_reporter();
    set_health(&health, ServingStatus::Serving).await;
    let routes = routes(Api {
        node,
        stop: stop.clone(),
    })
    .add_service(health_service);

    // From the outside in; each sees what those below it answer.
    let layers = ServiceBuilder::new()
        // The span is there before anything else can fail, and holds the final code.
        .layer(layer::trace::TraceLayer)
        // Counts what callers really get: refusals and translated errors included.
        .layer(layer::metrics::MetricsLayer::new(options.metrics.clone()))
        // Refuses before any work is done.
        .layer(layer::limit::LimitLayer::new(
            options.calls_max,
            options.uploads_max,
            options.metrics.clone(),
        ))
        // Inside the limit, so that a call that times out gives its place back.
        .layer(layer::deadline::DeadlineLayer)
        // Next to the services: tonic's own errors become the contract's.
        .layer(layer::translate::TranslateLayer)
        .into_inner();
    // A served TcpIncoming sets TCP_NODELAY only here: without it a loopback download ran at 2 MB/s instead of 506.
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(KEEPALIVE));
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(options.streams_per_connection_max)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE / 2))
        .layer(layers)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().wait());

    let cut = async {
        stop.wait().await;
        set_health(&health, ServingStatus::NotServing).await;
        tokio::time::sleep(options.drain).await;
    };
    tokio::select! {
        served = server => served,
        () = cut => {
            tracing::warn!(drain = ?options.drain, "calls were still running at the end of the drain time and were cut");
            Ok(())
        }
    }
}

fn routes(api: Api) -> Routes {
    let (v1, v1alpha) = reflection::services();
    Routes::new(v1)
        .add_service(v1alpha)
        .add_service(
            pb::model_service_server::ModelServiceServer::new(api.clone())
                .max_decoding_message_size(DATA_MESSAGE_BYTES_MAX),
        )
        .add_service(
            pb::weights_service_server::WeightsServiceServer::new(api.clone())
                .max_decoding_message_size(DATA_MESSAGE_BYTES_MAX),
        )
        .add_service(
            pb::state_service_server::StateServiceServer::new(api.clone())
                .max_decoding_message_size(DATA_MESSAGE_BYTES_MAX),
        )
        .add_service(
            pb::submission_service_server::SubmissionServiceServer::new(api.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            pb::round_service_server::RoundServiceServer::new(api.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            pb::peer_service_server::PeerServiceServer::new(api.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(pb::node_service_server::NodeServiceServer::new(api).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

/// Sets the health of the server as a whole (the empty name) and of each service.
async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in [
        "",
        pb::model_service_server::SERVICE_NAME,
        pb::weights_service_server::SERVICE_NAME,
        pb::submission_service_server::SERVICE_NAME,
        pb::round_service_server::SERVICE_NAME,
        pb::state_service_server::SERVICE_NAME,
        pb::peer_service_server::SERVICE_NAME,
        pb::node_service_server::SERVICE_NAME,
    ] {
        health.set_service_status(service, status).await;
    }
}
