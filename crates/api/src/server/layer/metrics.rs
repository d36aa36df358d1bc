//! Counts calls in the [`Metrics`].

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};

use super::method::Method;
use super::outcome::observe;
use super::{Request, Response};
use crate::code;
use crate::server::metrics::{Call, Metrics};

/// A running call: it is counted as active until it is dropped, and then, exactly once, as ended.
struct Running {
    metrics: Metrics,
    method: &'static str,
    begun: Instant,
    code: Code,
}

impl Running {
    /// Ends the call with this [`Code`]. A call that is dropped without this ends with the code that it was made with.
    fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let call = Call {
            rpc_method: self.method,
            rpc_response_status_code: code::name(self.code),
        };
        self.metrics
            .duration
            .get_or_create(&call)
            .observe(self.begun.elapsed().as_secs_f64());
        self.metrics.active.dec();
    }
}

/// The [`Layer`] that makes [`CountCalls`].
#[derive(Debug, Clone)]
pub(in crate::server) struct MetricsLayer {
    metrics: Arc<Metrics>,
}

impl MetricsLayer {
    pub(in crate::server) fn new(metrics: Metrics) -> Self {
        Self {
            metrics: Arc::new(metrics),
        }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = CountCalls<S>;
    fn layer(&self, inner: S) -> CountCalls<S> {
        CountCalls {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// The [`Service`] that counts calls.
#[derive(Debug, Clone)]
pub(in crate::server) struct CountCalls<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Service<Request> for CountCalls<S>
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
        self.metrics.active.inc();
        let running = Running {
            metrics: Metrics::clone(&self.metrics),
            method: Method::of(request.uri().path()).name,
            begun: Instant::now(),
            // When a caller goes away the future is dropped, and the call keeps this code.
            code: Code::Cancelled,
        };
        let future = self.inner.call(request);
        Box::pin(async move {
            match future.await {
                Ok(response) => Ok(observe(response, move |ended| running.end(ended))),
                Err(error) => {
                    running.end(Code::Unknown);
                    Err(error)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tonic::Status;
    use tonic::body::Body;

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    fn request() -> Request {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/qres.v1.NodeService/GetNode".parse().unwrap();
        request
    }

    #[tokio::test]
    async fn a_call_is_counted_once_with_its_code_and_is_no_longer_active() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let answer = tower::service_fn(|_: Request| async {
            Ok::<_, std::convert::Infallible>(Status::not_found("x").into_http::<Body>())
        });
        let mut service = MetricsLayer::new(metrics).layer(answer);
        service.call(request()).await.unwrap();
        let text = text(&registry);
        assert!(
            text.contains(
                "rpc_server_call_duration_seconds_count{rpc_method=\"qres.v1.NodeService/GetNode\",\
                 rpc_response_status_code=\"NOT_FOUND\"} 1"
            ),
            "{text}"
        );
        assert!(text.contains("rpc_server_active_calls 0"), "{text}");
    }

    #[tokio::test]
    async fn a_call_whose_caller_went_away_is_counted_as_cancelled() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let silent =
            tower::service_fn(|_: Request| std::future::pending::<Result<Response, std::convert::Infallible>>());
        let mut service = MetricsLayer::new(metrics).layer(silent);
        let call = service.call(request());
        assert!(text(&registry).contains("rpc_server_active_calls 1"));
        drop(call);
        let text = text(&registry);
        assert!(text.contains("rpc_response_status_code=\"CANCELLED\"} 1"), "{text}");
        assert!(text.contains("rpc_server_active_calls 0"), "{text}");
    }
}
