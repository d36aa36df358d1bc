//! Calls at the same time, on the whole node: what is too much is refused at once instead of queued.
//!
//! tonic's own limits count each connection by itself. Health and reflection are never refused, so that an operator
//! and a probe can tell a busy node from a dead one.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use qres_node::error::{Kind, NodeError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::method::Method;
use super::metrics::Metrics;
use super::outcome::observe;
use super::{Request, Response};
use crate::server::status::status;

/// When a refused caller should try again.
const RETRY_MS: u64 = 500;

/// Makes [`Limit`]; all services that one layer makes share the limits.
#[derive(Debug, Clone)]
pub(in crate::server) struct LimitLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    calls: Arc<Semaphore>,
    calls_max: usize,
    uploads: Arc<Semaphore>,
    uploads_max: usize,
    metrics: Metrics,
}

impl LimitLayer {
    pub(in crate::server) fn new(calls_max: usize, uploads_max: usize, metrics: Metrics) -> Self {
        Self {
            shared: Arc::new(Shared {
                calls: Arc::new(Semaphore::new(calls_max)),
                calls_max,
                uploads: Arc::new(Semaphore::new(uploads_max)),
                uploads_max,
                metrics,
            }),
        }
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;
    fn layer(&self, inner: S) -> Limit<S> {
        Limit {
            inner,
            shared: self.shared.clone(),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(in crate::server) struct Limit<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl Shared {
    /// The places that a call takes until its answer has ended.
    fn admit(&self, method: Method) -> Result<Vec<OwnedSemaphorePermit>, NodeError> {
        let mut permits = Vec::new();
        if method.operators {
            return Ok(permits);
        }
        if method.upload {
            permits.push(self.take(&self.uploads, "uploads", self.uploads_max)?);
        }
        permits.push(self.take(&self.calls, "calls", self.calls_max)?);
        Ok(permits)
    }

    fn take(&self, places: &Arc<Semaphore>, what: &'static str, max: usize) -> Result<OwnedSemaphorePermit, NodeError> {
        places.clone().try_acquire_owned().map_err(|_| {
            self.metrics.refuse(what);
            let message = format!("this node has {max} {what} at the same time, its limit: try again shortly");
            NodeError::new(Kind::Unavailable, "BUSY", message).retry_after(RETRY_MS)
        })
    }
}

impl<S> Service<Request> for Limit<S>
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
        let permits = match self.shared.admit(Method::of(request.uri().path())) {
            Ok(permits) => permits,
            Err(error) => return Box::pin(std::future::ready(Ok(status(error).into_http()))),
        };
        let future = self.inner.call(request);
        Box::pin(async move {
            let response = future.await?;
            Ok(observe(response, move |_| drop(permits)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::body::Body;
    use tonic::{Code, Status};
    use tonic_types::StatusExt;

    use super::*;

    fn request(path: &str) -> Request {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        request
    }

    /// A body that never ends by itself: the call goes on until it is dropped.
    struct Open;

    impl http_body::Body for Open {
        type Data = bytes::Bytes;
        type Error = Status;
        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Status>>> {
            Poll::Pending
        }
    }

    fn service(calls: usize, uploads: usize) -> impl Service<Request, Response = Response, Error = Status> {
        LimitLayer::new(calls, uploads, Metrics::default()).layer(tower::service_fn(|_: Request| async {
            Ok::<_, Status>(Response::new(Body::new(Open)))
        }))
    }

    #[tokio::test]
    async fn the_call_above_the_limit_is_refused_until_another_has_ended() {
        let mut service = service(1, 1);
        let path = "/qres.v1.RoundService/WatchRounds";
        let first = service.call(request(path)).await.unwrap();
        let refused = service.call(request(path)).await.unwrap();
        let status = Status::from_header_map(refused.headers()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.get_details_retry_info().is_some());
        assert_eq!(status.get_details_error_info().unwrap().reason, "BUSY");
        drop(first);
        let again = service.call(request(path)).await.unwrap();
        assert!(Status::from_header_map(again.headers()).is_none());
    }

    #[tokio::test]
    async fn uploads_have_a_limit_of_their_own_and_operators_none() {
        let mut service = service(2, 1);
        let _upload = service
            .call(request("/qres.v1.WeightsService/SubmitWeights"))
            .await
            .unwrap();
        let refused = service
            .call(request("/qres.v1.ModelService/CreateModel"))
            .await
            .unwrap();
        assert!(Status::from_header_map(refused.headers()).is_some());
        let _call = service.call(request("/qres.v1.NodeService/GetNode")).await.unwrap();
        let health = service.call(request("/grpc.health.v1.Health/Check")).await.unwrap();
        assert!(Status::from_header_map(health.headers()).is_none());
    }
}
