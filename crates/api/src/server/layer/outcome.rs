//! Observes the code with which a call ends, stream and trailers included.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};

use super::Response;

/// A body that calls `tell` once with the call's [`Code`]: the code of its trailers or of an error, or CANCELLED if the body
/// is dropped before them.
struct Outcome<F: FnOnce(Code)> {
    body: Body,
    tell: Option<F>,
}

/// Returns the [`Response`] with a body that calls `tell` once when the answer has ended.
pub(super) fn observe<F>(response: Response, tell: F) -> Response
where
    F: FnOnce(Code) + Send + Unpin + 'static,
{
    // An answer without a body has its status in the headers.
    if let Some(status) = Status::from_header_map(response.headers()) {
        tell(status.code());
        return response;
    }
    response.map(|body| Body::new(Outcome { body, tell: Some(tell) }))
}

impl<F: FnOnce(Code)> Outcome<F> {
    fn end(&mut self, code: Code) {
        if let Some(tell) = self.tell.take() {
            tell(code);
        }
    }
}

impl<F: FnOnce(Code) + Unpin> http_body::Body for Outcome<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    let code = Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code());
                    self.end(code);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                let code = status.code();
                self.end(code);
            }
            Poll::Ready(None) => self.end(Code::Unknown),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<F: FnOnce(Code)> Drop for Outcome<F> {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tonic::codegen::http::{self, HeaderMap};

    use super::*;

    /// A body of one data frame and trailers with a code.
    struct Stream(Vec<Frame<Bytes>>);

    impl http_body::Body for Stream {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop().map(Ok))
        }
    }

    fn stream(code: Code) -> Body {
        let mut trailers = HeaderMap::new();
        Status::new(code, "").add_header(&mut trailers).unwrap();
        Body::new(Stream(vec![
            Frame::trailers(trailers),
            Frame::data(Bytes::from_static(b"x")),
        ]))
    }

    fn observed(response: Response) -> (Response, Arc<Mutex<Vec<Code>>>) {
        let told = Arc::new(Mutex::new(vec![]));
        let tell = told.clone();
        (observe(response, move |code| tell.lock().push(code)), told)
    }

    async fn frame(response: &mut Response) {
        let body = response.body_mut();
        std::future::poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut *body), context)).await;
    }

    #[tokio::test]
    async fn a_stream_tells_the_code_of_its_trailers_once() {
        let (mut response, told) = observed(http::Response::new(stream(Code::NotFound)));
        frame(&mut response).await;
        assert!(told.lock().is_empty());
        frame(&mut response).await;
        drop(response);
        assert_eq!(*told.lock(), [Code::NotFound]);
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_was_cancelled() {
        let (mut response, told) = observed(http::Response::new(stream(Code::Ok)));
        frame(&mut response).await;
        drop(response);
        assert_eq!(*told.lock(), [Code::Cancelled]);
    }

    #[test]
    fn an_answer_of_headers_alone_is_told_at_once() {
        let (_response, told) = observed(Status::unavailable("busy").into_http());
        assert_eq!(*told.lock(), [Code::Unavailable]);
    }
}
