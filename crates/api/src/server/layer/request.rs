//! Limits the time in which requests come. A call with one message begins when the whole message is here, so that half a
//! request holds no place for calls. A stream of reflection must go on sending requests.
//!
//! The part of such a message that has come is held in memory: up to 1 KiB of each, more only with one of the places for
//! requests.
//!
//! Uploads are not limited here: their handlers limit their pace (see `server/pace.rs`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body as _, Frame};
use qres_node::error::{NodeError, Reason};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tower::{Layer, Service};

use super::method::{Method, Reading};
use super::{Request, Response};
use crate::server::connection::Connection;
use crate::server::limits::{Limits, MESSAGE_BYTES_MAX};
use crate::server::metrics::Metrics;
use crate::server::place::{Place, Places};
use crate::server::status::status;

/// Bytes of gRPC's prefix of a message: a flag and the message's length.
const PREFIX_BYTES: usize = 5;
/// Most bytes of a request that needs no place while it comes. So an operator's calls are read even if other callers'
/// requests have all the places.
const SMALL_BYTES: usize = 1024;

/// The [`Layer`] that makes [`Whole`].
#[derive(Debug, Clone)]
pub(in crate::server) struct RequestLayer {
    places: Arc<Places>,
    limits: Arc<Limits>,
    metrics: Metrics,
}

impl RequestLayer {
    pub(in crate::server) fn new(places: Arc<Places>, limits: Arc<Limits>, metrics: Metrics) -> Self {
        Self {
            places,
            limits,
            metrics,
        }
    }

    /// Takes a place for a request of more than [`SMALL_BYTES`].
    fn admit(&self, connection: &Connection) -> Result<[OwnedSemaphorePermit; 2], Status> {
        self.places
            .try_take_with(&connection.places, Place::Request)
            .map_err(|refused| {
                self.metrics.refuse(Place::Request.name());
                status(refused)
            })
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = Whole<S>;
    fn layer(&self, inner: S) -> Whole<S> {
        Whole {
            inner,
            layer: self.clone(),
        }
    }
}

/// The [`Service`] that runs a call once its request is here, or limits the time in which the request comes.
#[derive(Debug, Clone)]
pub(in crate::server) struct Whole<S> {
    inner: S,
    layer: RequestLayer,
}

impl<S> Service<Request> for Whole<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
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
        // This call uses the service that is ready; its clone becomes ready before the next call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        let limit = layer.limits.request;
        let late = Late {
            limit,
            metrics: layer.metrics.clone(),
        };
        match Method::of(request.uri().path()).reading {
            Reading::Handler => Box::pin(inner.call(request)),
            Reading::Within => Box::pin(inner.call(request.map(|body| Body::new(Timed::new(body, late, false))))),
            Reading::EachWithin => Box::pin(inner.call(request.map(|body| Body::new(Timed::new(body, late, true))))),
            Reading::Whole => Box::pin(async move {
                let (head, body) = request.into_parts();
                let connection = Connection::of(&head.extensions, &layer.limits);
                let gathered = gather(body, || layer.admit(&connection));
                let whole = match tokio::time::timeout(limit, gathered).await {
                    Ok(whole) => whole,
                    Err(_) => Err(late.status()),
                };
                match whole {
                    Ok(whole) => {
                        inner
                            .call(Request::from_parts(head, Body::new(Once(Some(whole)))))
                            .await
                    }
                    Err(status) => Ok(status.into_http()),
                }
            }),
        }
    }
}

/// Reads all bytes of a request that is one message. Above [`SMALL_BYTES`] it needs a place from `admit`, which it holds
/// until all bytes are here.
async fn gather<T>(mut body: Body, admit: impl Fn() -> Result<T, Status>) -> Result<Bytes, Status> {
    let mut whole = Vec::new();
    let mut place = None;
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len() + data.len() > MESSAGE_BYTES_MAX + PREFIX_BYTES {
            return Err(status(NodeError::new(
                Reason::MessageTooLarge,
                format!("the message has more than {MESSAGE_BYTES_MAX} bytes, the most that this method takes"),
            )));
        }
        if place.is_none() && whole.len() + data.len() > SMALL_BYTES {
            place = Some(admit()?);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

/// A body whose bytes are all here already.
struct Once(Option<Bytes>);

impl http_body::Body for Once {
    type Data = Bytes;
    type Error = Status;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// Makes the [`Status`] for a caller whose request does not come in time.
struct Late {
    limit: Duration,
    metrics: Metrics,
}

impl Late {
    fn status(&self) -> Status {
        self.metrics.end("slow_request");
        let message = format!(
            "the request was not here within {:?}: send it at once, and end the stream when there is no more to ask",
            self.limit
        );
        status(NodeError::new(Reason::RequestTooSlow, message))
    }
}

/// A body that fails if it takes longer than the limit: as a whole, or, with `each`, from one frame to the next.
struct Timed {
    body: Body,
    late: Late,
    sleep: Pin<Box<Sleep>>,
    each: bool,
    ended: bool,
}

impl Timed {
    fn new(body: Body, late: Late, each: bool) -> Self {
        Self {
            body,
            sleep: Box::pin(tokio::time::sleep(late.limit)),
            late,
            each,
            ended: false,
        }
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            if self.each {
                let next = Instant::now() + self.late.limit;
                self.sleep.as_mut().reset(next);
            }
            return polled;
        }
        if self.sleep.poll_unpin(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        Poll::Ready(Some(Err(self.late.status())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
