//! Serves all services inside their layers on one listener, until a signal.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use qres_node::handle::NodeHandle;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceBuilder;

use super::api::Api;
use super::health::{SERVICES, set_health};
use super::incoming::{Incoming, Listener, Open};
use super::judge::Judge;
use super::limits::MESSAGE_BYTES_MAX;
use super::options::Options;
use super::place::Places;
use super::stop::Stop;
use super::{layer, reflection};
use crate::{FRAME_BYTES_MAX, pb};

/// Most bytes of one message of the services that take data: gRPC's usual limit, four chunks.
const DATA_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Flow-control window of one stream: at 100 ms round-trip time 8 MiB still allow 80 MB/s.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Flow-control window of a connection: one slow stream of four cannot starve the others.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;
/// Interval of keepalive pings. A caller that vanished is noticed after this and half as long again, 45 s in all.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where callers connect.
#[derive(Debug)]
pub struct Listeners {
    /// TCP; encrypted if [`Options::security`] has TLS.
    pub tcp: TcpListener,
    /// The node's Unix socket, if it has one.
    pub unix: Option<UnixListener>,
}

/// Serves `node` on the listeners until `shutdown` resolves or the node stops by itself. Then long streams end with UNAVAILABLE,
/// and other calls get [`Options::drain`] to end.
pub async fn serve<F>(
    node: NodeHandle,
    listeners: Listeners,
    options: Options,
    shutdown: F,
) -> Result<(), tonic::transport::Error>
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = Stop::when(shutdown, node.stopping());
    let (health, health_service) = tonic_health::server::health_reporter();
    set_health(&health, &SERVICES, ServingStatus::Serving).await;
    let places = Arc::new(Places::of_node(&options.limits));
    let routes = routes(Api {
        node,
        stop: stop.clone(),
        health: health.clone(),
        places: places.clone(),
        limits: Arc::new(options.limits.clone()),
        metrics: options.metrics.clone(),
        schemas: Arc::new(Semaphore::new(1)),
        surroundings: options.surroundings.clone(),
        diagnoses: Arc::new(Semaphore::new(1)),
    });
    run(
        routes.add_service(health_service),
        health,
        listeners,
        options,
        places,
        stop,
    )
    .await
}

/// Serves `routes` inside the layers until `stop`, and then for at most [`Options::drain`].
async fn run(
    routes: Routes,
    health: HealthReporter,
    listeners: Listeners,
    options: Options,
    places: Arc<Places>,
    stop: Stop,
) -> Result<(), tonic::transport::Error> {
    let limits = Arc::new(options.limits);
    let judge = Judge::new(options.security.clone(), limits.calls_per_s, options.metrics.clone());
    // The layers from the outside in; each sees the answers of those below it.
    let layers = ServiceBuilder::new()
        // The span begins before anything else can fail, and holds the final code.
        .layer(layer::trace::TraceLayer)
        // Counts the codes that callers really get, refusals and translated errors included.
        .layer(layer::metrics::MetricsLayer::new(options.metrics.clone()))
        // Before anything of the request is read or any place is taken.
        .layer(layer::access::AccessLayer::new(judge, limits.clone()))
        // Outside the layers that hold places and files, so that a call that times out or is not read gives them back.
        .layer(layer::deadline::DeadlineLayer)
        .layer(layer::answer::AnswerLayer::new(limits.clone(), options.metrics.clone()))
        // Before the limit, so that a request that is not complete holds no place for calls.
        .layer(layer::request::RequestLayer::new(
            places.clone(),
            limits.clone(),
            options.metrics.clone(),
        ))
        // Refuses before any work is done.
        .layer(layer::limit::LimitLayer::new(
            places,
            limits.clone(),
            options.metrics.clone(),
        ))
        // Next to the services, so that tonic's own errors become the contract's.
        .layer(layer::translate::TranslateLayer)
        .into_inner();
    let open = Open::new(options.metrics.clone());
    let accept = |listener| Incoming::new(listener, open.clone(), limits.clone()).stream();
    let unix = listeners.unix.map(|unix| accept(Listener::Unix(unix)));
    let tcp = accept(Listener::Tcp(listeners.tcp, options.security.clone()));
    let incoming = stream::select(Box::pin(tcp), stream::iter(unix.map(Box::pin)).flatten());
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(options.streams_per_connection_max)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE / 2))
        .layer(layers)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.clone().wait());

    let cut = async {
        stop.wait().await;
        set_health(&health, &SERVICES, ServingStatus::NotServing).await;
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

#[cfg(test)]
mod tests {
    use tonic::transport::Channel;
    use tonic::{Code, Request, Response, Status};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_types::StatusExt;

    use super::*;
    use crate::server::limits::Limits;

    /// A node service whose calls never end. The real services would need a whole node.
    struct Silent;

    #[tonic::async_trait]
    impl pb::node_service_server::NodeService for Silent {
        async fn get_node(&self, _: Request<pb::GetNodeRequest>) -> Result<Response<pb::GetNodeResponse>, Status> {
            std::future::pending().await
        }
        async fn diagnose_node(
            &self,
            _: Request<pb::DiagnoseNodeRequest>,
        ) -> Result<Response<pb::DiagnoseNodeResponse>, Status> {
            std::future::pending().await
        }

        async fn drain_node(
            &self,
            _: Request<pb::DrainNodeRequest>,
        ) -> Result<Response<pb::DrainNodeResponse>, Status> {
            std::future::pending().await
        }
    }

    struct Served {
        channel: Channel,
        stop: tokio::sync::oneshot::Sender<()>,
        running: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    }

    async fn serve_silent(options: Options) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let stopped = Stop::when(async { stopped.await.unwrap_or_default() }, std::future::pending());
        let (v1, v1alpha) = reflection::services();
        let routes = Routes::new(v1)
            .add_service(v1alpha)
            .add_service(pb::node_service_server::NodeServiceServer::new(Silent));
        let (health, health_service) = tonic_health::server::health_reporter();
        set_health(&health, &SERVICES, ServingStatus::Serving).await;
        let routes = routes.add_service(health_service);
        let places = Arc::new(Places::of_node(&options.limits));
        let listeners = Listeners {
            tcp: listener,
            unix: None,
        };
        let running = tokio::spawn(run(routes, health, listeners, options, places, stopped));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        Served {
            channel: channel.connect().await.unwrap(),
            stop,
            running,
        }
    }

    async fn health(channel: &Channel, service: &str) -> Result<i32, Status> {
        let service = service.to_owned();
        let answer = HealthClient::new(channel.clone())
            .check(HealthCheckRequest { service })
            .await?;
        Ok(answer.into_inner().status)
    }

    /// Calls a method with an empty message and returns the [`Status`] with which it fails.
    async fn call(channel: &Channel, path: &'static str) -> Status {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<pb::GetNodeRequest, pb::GetNodeResponse>::default();
        let request = Request::new(pb::GetNodeRequest {});
        grpc.unary(request, path.parse().unwrap(), codec).await.unwrap_err()
    }

    #[tokio::test]
    async fn every_service_has_a_health_of_its_own() {
        let served = serve_silent(Options::default()).await;
        for service in ["", "qres.v1.WeightsService", "qres.v1.NodeService"] {
            assert_eq!(health(&served.channel, service).await.unwrap(), 1, "{service}");
        }
        assert_eq!(
            health(&served.channel, "qres.v1.Nothing").await.unwrap_err().code(),
            Code::NotFound
        );
    }

    #[tokio::test]
    async fn a_message_above_the_limit_is_resource_exhausted_on_the_wire() {
        let served = serve_silent(Options::default()).await;
        let error = health(&served.channel, &"x".repeat(5 * 1024 * 1024)).await.unwrap_err();
        assert_eq!(error.code(), Code::ResourceExhausted);
        assert_eq!(error.get_details_error_info().unwrap().reason, "MESSAGE_TOO_LARGE");
    }

    #[tokio::test]
    async fn an_unknown_method_says_how_to_find_the_known_ones() {
        let served = serve_silent(Options::default()).await;
        for path in ["/qres.v1.NodeService/Nothing", "/qres.v1.Nothing/Nothing"] {
            let error = call(&served.channel, path).await;
            assert_eq!(error.code(), Code::Unimplemented);
            assert!(error.message().contains("grpcurl"), "{path}: {error}");
        }
    }

    #[tokio::test]
    async fn a_busy_node_refuses_calls_and_still_answers_probes() {
        let limits = Limits {
            calls: 0,
            reserved: 0,
            ..Limits::default()
        };
        let options = Options {
            limits,
            ..Options::default()
        };
        let served = serve_silent(options).await;
        let error = call(&served.channel, "/qres.v1.NodeService/GetNode").await;
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.get_details_retry_info().is_some());
        assert_eq!(health(&served.channel, "").await.unwrap(), 1);
    }

    #[tokio::test]
    async fn at_the_stop_probes_hear_of_it_and_calls_that_do_not_end_are_cut() {
        let options = Options {
            drain: Duration::ZERO,
            ..Options::default()
        };
        let served = serve_silent(options).await;
        let mut watch = HealthClient::new(served.channel.clone())
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status, 1);
        served.stop.send(()).unwrap();
        served.running.await.unwrap().unwrap();
    }
}
