//! A trace collector in the process of a test: it takes OTLP over gRPC and keeps every span.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::wait;

/// A trace collector. It keeps every [`Span`] with the instance that sent it.
#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<Vec<(String, Span)>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.map(|r| r.attributes).unwrap_or_default();
            let instance = format!("{attributes:?}");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push((instance.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts a collector; returns it and its endpoint for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        (collector, endpoint)
    }

    /// Returns all spans that came so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans
            .lock()
            .unwrap()
            .iter()
            .map(|(_, span)| span.clone())
            .collect()
    }

    /// Returns the spans of this name and process that are as wanted.
    pub fn find(&self, name: &str, pid: u32, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        let spans = self.spans.lock().unwrap();
        // The name of an instance is "host-pid", in quotes.
        let instance = format!("-{pid}\"");
        let found = spans
            .iter()
            .filter(|(from, span)| from.contains(&instance) && span.name == name && wanted(span));
        found.map(|(_, span)| span.clone()).collect()
    }

    /// Waits for a span of this name and process that is as wanted.
    pub async fn wait_for(&self, name: &str, pid: u32, wanted: impl Fn(&Span) -> bool) -> Span {
        wait::until(&format!("span {name:?} of process {pid}"), || async {
            self.find(name, pid, &wanted).into_iter().next()
        })
        .await
    }
}

/// Returns true if the span has a link into a trace.
pub fn links_to(span: &Span, trace: &[u8]) -> bool {
    span.links.iter().any(|link| link.trace_id == trace)
}

/// Returns the environment of a daemon that exports its traces to this endpoint, without delay.
pub fn environment(endpoint: &str) -> Vec<(String, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT".into(), endpoint.into()),
        ("OTEL_BSP_SCHEDULE_DELAY".into(), "50".into()),
    ]
}
