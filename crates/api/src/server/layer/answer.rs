//! Ends an answer that its caller does not read.
//!
//! The server polls a body for more data only when the caller has made room for the data before. So the call of a caller
//! that reads nothing stands still and keeps everything that it holds. A task beside each answer notices that and drops the
//! body of the answer; if the caller reads again, it gets a status with the reason. Later the task closes the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use qres_node::error::{NodeError, Reason};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tower::{Layer, Service};

use super::{Request, Response};
use crate::server::connection::Connection;
use crate::server::limits::Limits;
use crate::server::metrics::Metrics;
use crate::server::status::status;

/// Pieces of data with more bytes than this are given in two parts; smaller ones may wait in the server's buffers.
const SPLIT_BYTES: usize = 16 * 1024;
/// Bytes of the second part. h2 takes many unread frames of less than 256 bytes for an attack.
const TAIL_BYTES: usize = 1024;

/// The [`Layer`] that makes [`Answers`].
#[derive(Debug, Clone)]
pub(in crate::server) struct AnswerLayer {
    limits: Arc<Limits>,
    metrics: Metrics,
}

impl AnswerLayer {
    pub(in crate::server) fn new(limits: Arc<Limits>, metrics: Metrics) -> Self {
        Self { limits, metrics }
    }
}

impl<S> Layer<S> for AnswerLayer {
    type Service = Answers<S>;
    fn layer(&self, inner: S) -> Answers<S> {
        Answers {
            inner,
            layer: self.clone(),
        }
    }
}

/// The [`Service`] that ends answers which are not read.
#[derive(Debug, Clone)]
pub(in crate::server) struct Answers<S> {
    inner: S,
    layer: AnswerLayer,
}

impl<S> Service<Request> for Answers<S>
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
        let layer = self.layer.clone();
        let future = self.inner.call(request);
        Box::pin(async move {
            let response = future.await?;
            if response.body().is_end_stream() {
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Answer::new(body, connection, layer))))
        })
    }
}

/// A body that ends if its data are not read in time.
struct Answer {
    shared: Arc<Shared>,
    /// The end of a large piece, and the bytes of the whole piece. The end is given separately: the server asks for it at once,
    /// and for more only when the caller has made room for everything before it. So a body is not at its end, and dropped,
    /// while a large last piece waits in the server's buffers.
    tail: Option<(Bytes, usize)>,
    told: bool,
    watch: AbortHandle,
}

struct Shared {
    unread: Duration,
    bytes_per_s: u32,
    state: Mutex<State>,
}

struct State {
    /// The body; `None` once it was not read for too long.
    body: Option<Body>,
    /// The time by which the server should ask for more; `None` while it has asked.
    due: Option<Instant>,
}

impl Shared {
    /// Returns the time by which this many bytes should be read.
    fn due(&self, bytes: usize) -> Instant {
        Instant::now() + self.unread + Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_s))
    }

    /// Waits until the answer is overdue.
    async fn overdue(&self) {
        loop {
            let now = Instant::now();
            let due = self.state.lock().due;
            match due {
                Some(due) if due <= now => return,
                Some(due) => tokio::time::sleep(due - now).await,
                None => tokio::time::sleep(self.unread).await,
            }
        }
    }
}

impl Answer {
    fn new(body: Body, connection: Arc<Connection>, layer: AnswerLayer) -> Self {
        let shared = Arc::new(Shared {
            unread: layer.limits.unread,
            bytes_per_s: layer.limits.read_bytes_per_s,
            state: Mutex::new(State {
                body: Some(body),
                due: None,
            }),
        });
        let watch = tokio::spawn(watch(shared.clone(), connection, layer.metrics)).abort_handle();
        Self {
            shared,
            tail: None,
            told: false,
            watch,
        }
    }

    /// Gives the status of a body that has been dropped, once, as trailers.
    fn ended(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if std::mem::replace(&mut self.told, true) {
            return Poll::Ready(None);
        }
        let message = format!(
            "this answer was not read for more than {:?} and has ended: call again, a fetch with the offset of the bytes that \
             came, a watch with the last revision",
            self.shared.unread
        );
        let status = status(NodeError::new(Reason::AnswerNotRead, message));
        let mut trailers = tonic::codegen::http::HeaderMap::new();
        // Adding fails only for a message that is no valid header, and the messages of `status` are escaped.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// Ends an answer that is not read in time, and after [`Limits::unread`] more its [`Connection`].
async fn watch(shared: Arc<Shared>, connection: Arc<Connection>, metrics: Metrics) {
    shared.overdue().await;
    let body = shared.state.lock().body.take();
    metrics.end("unread_answer");
    tracing::debug!(unread = ?shared.unread, "an answer that nobody reads is ended");
    // Everything that the body held is free from here on; a dropped fetch closes its file.
    drop(body);
    tokio::time::sleep(shared.unread).await;
    connection.cut();
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some((tail, of)) = self.tail.take() {
            self.shared.state.lock().due = Some(self.shared.due(of));
            return Poll::Ready(Some(Ok(Frame::data(tail))));
        }
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        state.due = None;
        let Some(body) = &mut state.body else {
            return self.ended();
        };
        let polled = Pin::new(body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            return polled;
        };
        match frame.into_data() {
            Ok(mut data) => {
                let bytes = data.len();
                state.due = Some(shared.due(bytes));
                if bytes > SPLIT_BYTES {
                    self.tail = Some((data.split_off(bytes - TAIL_BYTES), bytes));
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(other) => Poll::Ready(Some(Ok(other))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tail.is_none() && self.shared.state.lock().body.as_ref().is_some_and(Body::is_end_stream)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use tonic::Code;

    use super::*;
    use crate::server::origin::Origin;

    /// A body that gives the same data for ever.
    struct Endless(#[allow(dead_code)] Arc<()>);

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; SPLIT_BYTES + 1])))))
        }
    }

    fn answer(unread: Duration) -> (Answer, Weak<()>, Arc<Connection>) {
        let limits = Arc::new(Limits {
            unread,
            ..Limits::default()
        });
        let connection = Connection::new(&limits, Origin::default());
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        let layer = AnswerLayer::new(limits, Metrics::default());
        let answer = Answer::new(Body::new(Endless(held)), connection.clone(), layer);
        (answer, weak, connection)
    }

    async fn next(answer: &mut Answer) -> Frame<Bytes> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *answer).poll_frame(context)).await;
        frame.unwrap().unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_is_read_goes_on_in_pieces_of_two_parts() {
        let (mut answer, held, _) = answer(Duration::from_secs(3_600));
        for _ in 0..3 {
            for bytes in [SPLIT_BYTES + 1 - TAIL_BYTES, TAIL_BYTES] {
                assert_eq!(next(&mut answer).await.into_data().unwrap().len(), bytes);
            }
        }
        assert!(held.upgrade().is_some() && !answer.is_end_stream());
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_lets_go_and_says_why() {
        let (mut answer, held, _) = answer(Duration::from_millis(1));
        next(&mut answer).await;
        next(&mut answer).await;
        while held.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
        let trailers = next(&mut answer).await.into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Unavailable);
    }
}
