//! Lets a call through only if its caller may make the call, and only for as long as it may.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use qres_access::Role;
use qres_node::error::NodeError;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::HeaderMap;
use tonic::codegen::http::header::AUTHORIZATION;
use tower::{Layer, Service};

use super::method::Method;
use super::outcome::observe;
use super::{Request, Response};
use crate::server::audit::AuditLine;
use crate::server::connection::Connection;
use crate::server::judge::{Evidence, Judge};
use crate::server::limits::Limits;
use crate::server::status::status;

/// The [`Layer`] that makes [`Access`].
#[derive(Debug, Clone)]
pub(in crate::server) struct AccessLayer {
    judge: Arc<Judge>,
    limits: Arc<Limits>,
}

impl AccessLayer {
    pub(in crate::server) fn new(judge: Judge, limits: Arc<Limits>) -> Self {
        Self {
            judge: Arc::new(judge),
            limits,
        }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;
    fn layer(&self, inner: S) -> Access<S> {
        Access {
            inner,
            layer: self.clone(),
        }
    }
}

/// The [`Service`] that lets a call through only if its caller may make the call.
#[derive(Debug, Clone)]
pub(in crate::server) struct Access<S> {
    inner: S,
    layer: AccessLayer,
}

/// Returns the bearer token of a request. Another scheme counts as an unknown token, not as none, and so do two tokens.
fn token(request: &Request) -> Option<String> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().unwrap_or_default();
    if values.next().is_some() {
        return Some(String::new());
    }
    Some(match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim().to_owned(),
        _ => String::new(),
    })
}

/// A body that ends with an error, in trailers, once its call may no longer go on. An error of the body itself would reset the
/// stream, and the caller would not learn why.
struct Judged {
    body: Body,
    /// `None` once the body has ended for this reason.
    revoked: Option<BoxFuture<'static, NodeError>>,
}

impl http_body::Body for Judged {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(revoked) = &mut self.revoked else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(error) = revoked.as_mut().poll(context) {
            self.revoked = None;
            let mut trailers = HeaderMap::new();
            let written = status(error).add_header(&mut trailers);
            return Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.revoked.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs a call for as long as its caller may make it.
async fn judged<E>(
    call: impl Future<Output = Result<Response, E>>,
    judge: Arc<Judge>,
    evidence: Evidence,
) -> Result<Response, E> {
    let mut revoked: BoxFuture<'static, NodeError> = Box::pin(judge.revoked(evidence));
    tokio::select! {
        answer = call => {
            let revoked = Some(revoked);
            answer.map(|response| response.map(|body| Body::new(Judged { body, revoked })))
        }
        error = &mut revoked => Ok(status(error).into_http()),
    }
}

impl<S> Service<Request> for Access<S>
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

    fn call(&mut self, mut request: Request) -> Self::Future {
        let method = Method::of(request.uri().path());
        let Some(needs) = method.role else {
            return Box::pin(self.inner.call(request));
        };
        let evidence = Evidence {
            connection: Connection::of(request.extensions(), &self.layer.limits),
            token: token(&request),
            rpc: method.name,
            needs,
        };
        let caller = match self.layer.judge.begin(&evidence) {
            Ok(caller) => caller,
            Err(error) => return Box::pin(std::future::ready(Ok(status(error).into_http()))),
        };
        request.extensions_mut().insert(caller.clone());
        let line = (needs == Role::Operator)
            .then(|| AuditLine::new(caller, evidence.connection.clone(), method.name))
            .inspect(|line| drop(request.extensions_mut().insert(line.object())));
        let call = self.inner.call(request);
        let judge = self.layer.judge.clone();
        Box::pin(async move {
            // A short call is over before its credential could be revoked.
            let response = match method.short {
                true => call.await?,
                false => judged(call, judge, evidence).await?,
            };
            Ok(match line {
                Some(line) => observe(response, move |ended| line.end(ended)),
                None => response,
            })
        })
    }
}

#[cfg(test)]
mod tests;
