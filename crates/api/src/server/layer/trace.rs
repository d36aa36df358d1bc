//! A span for every call. The span is a child of the caller's span if the caller sent W3C trace context.
//!
//! The process chooses the propagator that reads the context (`opentelemetry::global`). Without a propagator no context is
//! read.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use opentelemetry::propagation::Extractor;
use tonic::codegen::http::HeaderMap;
use tower::{Layer, Service};
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::method::Method;
use super::outcome::observe;
use super::{Request, Response};
use crate::code;

/// The [`Layer`] that makes [`Trace`].
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;
    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner }
    }
}

/// The [`Service`] that runs each call inside a span.
#[derive(Debug, Clone)]
pub(in crate::server) struct Trace<S> {
    inner: S,
}

/// The metadata of a call as an [`Extractor`], which propagators read.
pub struct Metadata<'a>(pub &'a HeaderMap);

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }
    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

impl<S> Service<Request> for Trace<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let method = Method::of(request.uri().path());
        let span = tracing::info_span!(
            "rpc",
            otel.name = method.name,
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            rpc.system.name = "grpc",
            rpc.method = method.name,
            rpc.response.status_code = tracing::field::Empty,
        );
        let parent = opentelemetry::global::get_text_map_propagator(|p| p.extract(&Metadata(request.headers())));
        // The parent must be set before the span is first entered. Setting it fails only if no trace is exported.
        let _ = span.set_parent(parent);
        let future = span.in_scope(|| self.inner.call(request)).instrument(span.clone());
        Box::pin(async move {
            let response = future.await?;
            Ok(observe(response, move |ended| {
                span.record("rpc.response.status_code", code::name(ended));
                if is_fault(ended) {
                    span.record("otel.status_code", "ERROR");
                }
            }))
        })
    }
}

/// Returns true for the codes that the RPC conventions count as errors of the server; the others are the caller's.
fn is_fault(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_by_name_and_unreadable_values_are_none() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "00-1-2-01".parse().unwrap());
        headers.insert("tracestate", b"\xff".as_slice().try_into().unwrap());
        let metadata = Metadata(&headers);
        assert_eq!(metadata.get("traceparent"), Some("00-1-2-01"));
        assert_eq!(metadata.get("tracestate"), None);
        assert_eq!(metadata.keys().len(), 2);
    }
}
