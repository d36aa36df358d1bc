//! Limits the calls at the same time, on the whole node and on one connection. A call above a limit is refused at once
//! instead of queued.
//!
//! tonic's own limits count each connection separately. Here each kind of call has places of its own (see
//! `server/limits.rs`), so that a node full of streams still answers its operator; short calls also have reserved places.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use qres_node::error::NodeError;
use tokio::sync::OwnedSemaphorePermit;
use tower::{Layer, Service};

use super::method::Method;
use super::outcome::observe;
use super::{Request, Response};
use crate::server::connection::{Connection, RunningCall};
use crate::server::limits::Limits;
use crate::server::metrics::Metrics;
use crate::server::place::{Place, Places};
use crate::server::status::status;

/// The [`Layer`] that makes [`Limit`]. All services of one layer share the limits.
#[derive(Debug, Clone)]
pub(in crate::server) struct LimitLayer {
    places: Arc<Places>,
    limits: Arc<Limits>,
    metrics: Metrics,
}

impl LimitLayer {
    pub(in crate::server) fn new(places: Arc<Places>, limits: Arc<Limits>, metrics: Metrics) -> Self {
        Self {
            places,
            limits,
            metrics,
        }
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;
    fn layer(&self, inner: S) -> Limit<S> {
        Limit {
            inner,
            layer: self.clone(),
        }
    }
}

/// The [`Service`] that runs a call only if there is a place for it.
#[derive(Debug, Clone)]
pub(in crate::server) struct Limit<S> {
    inner: S,
    layer: LimitLayer,
}

/// The places that a call holds: one of the connection's share and one of the node's.
struct Held {
    /// True if the places are held only until the answer begins; otherwise they are held until the answer has ended.
    brief: bool,
    _permits: [OwnedSemaphorePermit; 2],
    /// Marks the connection as in use. It is made only once the request has its place: half a request does not keep a connection
    /// from being closed.
    _running: RunningCall,
}

impl LimitLayer {
    /// Takes the places of a call, reserved ones if `method` is short and has no others. Returns an error if there are none.
    fn admit(&self, method: Method, connection: &Arc<Connection>) -> Result<Held, NodeError> {
        let refused = match self.places.try_take_with(&connection.places, method.place) {
            Ok(permits) => {
                return Ok(Held {
                    brief: false,
                    _permits: permits,
                    _running: connection.call(),
                });
            }
            Err(refused) => refused,
        };
        // Only short calls get a reserved place, so one is soon free again.
        if method.short
            && let Ok(permits) = self.places.try_take_with(&connection.places, Place::Reserved)
        {
            return Ok(Held {
                brief: true,
                _permits: permits,
                _running: connection.call(),
            });
        }
        self.metrics.refuse(method.place.name());
        Err(refused)
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
        let connection = Connection::of(request.extensions(), &self.layer.limits);
        let held = match self.layer.admit(Method::of(request.uri().path()), &connection) {
            Ok(held) => held,
            Err(error) => return Box::pin(std::future::ready(Ok(status(error).into_http()))),
        };
        let future = self.inner.call(request);
        Box::pin(async move {
            let response = future.await?;
            if held.brief {
                return Ok(response);
            }
            Ok(observe(response, move |_| drop(held)))
        })
    }
}

#[cfg(test)]
mod tests {
    use tonic::body::Body;
    use tonic::{Code, Status};
    use tonic_types::StatusExt;

    use super::*;
    use crate::server::origin::Origin;

    const WATCH: &str = "/qres.v1.RoundService/WatchRounds";
    const SUBMIT: &str = "/qres.v1.WeightsService/SubmitWeights";
    const NODE: &str = "/qres.v1.NodeService/GetNode";
    const HEALTH: &str = "/grpc.health.v1.Health/Check";

    /// A body that never ends by itself: the call goes on until the body is dropped.
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

    struct Served<S> {
        service: S,
        limits: Limits,
    }

    fn served(limits: Limits) -> Served<impl Service<Request, Response = Response, Error = Status>> {
        let places = Arc::new(Places::of_node(&limits));
        let open = tower::service_fn(|_: Request| async { Ok::<_, Status>(Response::new(Body::new(Open))) });
        Served {
            service: LimitLayer::new(places, Arc::new(limits.clone()), Metrics::default()).layer(open),
            limits,
        }
    }

    impl<S: Service<Request, Response = Response, Error = Status>> Served<S> {
        fn connection(&self) -> Arc<Connection> {
            Connection::new(&self.limits, Origin::default())
        }

        /// Returns the open answer, or the [`Status`] with which the call was refused.
        async fn call(&mut self, path: &str, connection: &Arc<Connection>) -> Result<Response, Status> {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = path.parse().unwrap();
            request.extensions_mut().insert(connection.clone());
            let response = self.service.call(request).await.unwrap();
            match Status::from_header_map(response.headers()) {
                Some(status) => Err(status),
                None => Ok(response),
            }
        }
    }

    #[tokio::test]
    async fn the_call_above_the_limit_is_refused_until_another_has_ended() {
        let mut served = served(Limits {
            watches: 1,
            ..Limits::default()
        });
        let [a, b] = [served.connection(), served.connection()];
        let first = served.call(WATCH, &a).await.unwrap();
        let refused = served.call(WATCH, &b).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.get_details_retry_info().is_some());
        assert_eq!(refused.get_details_error_info().unwrap().reason, "BUSY");
        drop(first);
        served.call(WATCH, &b).await.unwrap();
    }

    #[tokio::test]
    async fn one_connection_gets_a_quarter() {
        let mut served = served(Limits {
            uploads: 8,
            ..Limits::default()
        });
        let [a, b] = [served.connection(), served.connection()];
        let _first = served.call(SUBMIT, &a).await.unwrap();
        let second = served.call(SUBMIT, &a).await.unwrap();
        let refused = served.call(SUBMIT, &a).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.get_details_error_info().unwrap().reason, "CONNECTION_SHARE");
        let _others = served.call(SUBMIT, &b).await.unwrap();
        drop(second);
        served.call(SUBMIT, &a).await.unwrap();
    }

    #[tokio::test]
    async fn each_kind_has_its_places_and_short_calls_have_reserved_ones() {
        let mut served = served(Limits {
            watches: 0,
            uploads: 0,
            calls: 1,
            probes: 1,
            reserved: 1,
            ..Limits::default()
        });
        let connection = served.connection();
        served.call(WATCH, &connection).await.unwrap_err();
        served.call(SUBMIT, &connection).await.unwrap_err();
        let _place = served.call(NODE, &connection).await.unwrap();
        let _probe = served.call(HEALTH, &connection).await.unwrap();
        // The answers of these calls are not read either, and hold no place.
        let _reserved = served.call(NODE, &connection).await.unwrap();
        let _reserved = served.call(HEALTH, &connection).await.unwrap();
        let _reserved = served.call(NODE, &connection).await.unwrap();
    }
}
