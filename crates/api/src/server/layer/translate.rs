//! Replaces the errors with which tonic itself answers by the contract's own errors.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::Status;
use tower::{Layer, Service};

use super::{Request, Response};
use crate::server::status::translate;

/// The [`Layer`] that makes [`Translate`].
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct TranslateLayer;

impl<S> Layer<S> for TranslateLayer {
    type Service = Translate<S>;
    fn layer(&self, inner: S) -> Translate<S> {
        Translate { inner }
    }
}

/// The [`Service`] that replaces tonic's own errors.
#[derive(Debug, Clone)]
pub(in crate::server) struct Translate<S> {
    inner: S,
}

impl<S> Service<Request> for Translate<S>
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
        let future = self.inner.call(request);
        Box::pin(async move {
            let response = future.await?;
            // tonic's own errors come before any answer, so their status is in the headers.
            let tonics = Status::from_header_map(response.headers());
            Ok(match tonics.and_then(|status| translate(&status)) {
                Some(status) => status.into_http(),
                None => response,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::Code;
    use tonic::body::Body;

    use super::*;

    #[tokio::test]
    async fn an_oversized_message_is_resource_exhausted() {
        let tonics = tower::service_fn(|_: Request| async {
            Ok::<_, Infallible>(Status::out_of_range("decoded message length too large").into_http::<Body>())
        });
        let response = TranslateLayer
            .layer(tonics)
            .call(Request::new(Body::empty()))
            .await
            .unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
}
