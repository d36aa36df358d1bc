//! Enforces the caller's deadline (`grpc-timeout`) with the code DEADLINE_EXCEEDED.
//!
//! tonic enforces the deadline too, outside all layers, and answers CANCELLED; this layer answers a moment earlier.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use tonic::codegen::http::HeaderMap;
use tower::{Layer, Service};

use super::{Request, Response};
use crate::server::status::deadline_exceeded;

/// Time by which this layer answers before tonic. Timers count whole milliseconds, so two milliseconds are enough.
const EARLIER: Duration = Duration::from_millis(2);

/// The [`Layer`] that makes [`Deadline`].
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;
    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

/// The [`Service`] that ends a call at its caller's deadline.
#[derive(Debug, Clone)]
pub(in crate::server) struct Deadline<S> {
    inner: S,
}

impl<S> Service<Request> for Deadline<S>
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
        let timeout = timeout(request.headers());
        // The timer starts here and not at the first poll, because tonic's own timer starts right after this call.
        let sleep = timeout.map(|after| (after, tokio::time::sleep(after.saturating_sub(EARLIER))));
        let future = self.inner.call(request);
        Box::pin(async move {
            let Some((after, sleep)) = sleep else {
                return future.await;
            };
            tokio::select! {
                biased;
                answer = future => answer,
                () = sleep => Ok(deadline_exceeded(after).into_http()),
            }
        })
    }
}

/// Reads `grpc-timeout`: at most 8 digits and a unit. Returns `None` for any other text.
pub(in crate::server) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::body::Body;
    use tonic::{Code, Status};

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        for (text, expected) in [
            ("100m", Some(Duration::from_millis(100))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("5u", Some(Duration::from_micros(5))),
            ("100000000m", None),
            ("m", None),
            ("-1S", None),
            ("1x", None),
            ("", None),
        ] {
            assert_eq!(timeout(&headers(text)), expected, "{text}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_call_that_takes_longer_is_answered_with_deadline_exceeded() {
        let silent = tower::service_fn(|_: Request| std::future::pending::<Result<Response, Infallible>>());
        let mut service = DeadlineLayer.layer(silent);
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = headers("1n");
        let response = service.call(request).await.unwrap();
        assert_eq!(
            Status::from_header_map(response.headers()).unwrap().code(),
            Code::DeadlineExceeded
        );
    }
}
