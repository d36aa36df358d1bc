//! Decides who calls and whether that caller may make the call, before the request is read.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use qres_access::{Caller, Refusal, Shown};
use qres_node::clock::unix_ms;
use qres_node::error::{NodeError, Reason};
use tonic::codegen::http::header::AUTHORIZATION;
use tower::{Layer, Service};

use super::method::Method;
use super::outcome::observe;
use super::{Request, Response};
use crate::server::audit::{self, AuditObject};
use crate::server::connection::Connection;
use crate::server::limits::Limits;
use crate::server::metrics::Metrics;
use crate::server::rate::Rate;
use crate::server::security::SecurityNow;
use crate::server::status::status;

/// The [`Layer`] that makes [`Access`].
#[derive(Debug, Clone)]
pub(in crate::server) struct AccessLayer {
    security: SecurityNow,
    rate: Option<Arc<Rate>>,
    limits: Arc<Limits>,
    metrics: Metrics,
}

impl AccessLayer {
    pub(in crate::server) fn new(security: SecurityNow, limits: Arc<Limits>, metrics: Metrics) -> Self {
        Self {
            security,
            rate: limits.calls_per_s.map(|rate| Arc::new(Rate::new(rate))),
            limits,
            metrics,
        }
    }

    /// Returns who calls; `None` for a probe, which needs no credential.
    fn admit(&self, request: &Request, method: Method, connection: &Connection) -> Result<Option<Caller>, NodeError> {
        let Some(needs) = method.role else { return Ok(None) };
        let security = self.security.borrow().clone();
        let shown = Shown {
            token: token(request),
            certificates: connection.origin.certificates(),
            by_socket: connection.origin.is_socket(),
        };
        let now = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
        let caller = security.policy.permit(&shown, needs, now).map_err(|refusal| {
            self.metrics.deny(denial(&refusal));
            if let Refusal::Role { name, has, .. } = &refusal {
                let caller = Caller {
                    name: name.clone(),
                    role: *has,
                    named: true,
                };
                let code = tonic::Code::PermissionDenied;
                audit::write(&caller, connection, method.name, &AuditObject::default(), code);
            }
            NodeError::new(reason(&refusal), refusal.to_string())
        })?;
        if let Some(rate) = &self.rate
            && let Err(wait) = rate.count(&caller.name)
        {
            self.metrics.refuse("rate");
            let most = self.limits.calls_per_s.map_or(0, std::num::NonZeroU32::get);
            let message = format!(
                "caller {:?} makes more than {most} calls a second (--grpc-rate-max)",
                caller.name
            );
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            return Err(NodeError::new(Reason::RateLimit, message).retry_after(wait));
        }
        Ok(Some(caller))
    }
}

/// Returns the bearer token of a request. Another scheme counts as an unknown token, not as none.
fn token(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        _ => Some(""),
    }
}

fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Missing => Reason::CredentialMissing,
        Refusal::Token | Refusal::Certificate(_) => Reason::CredentialRefused,
        Refusal::Unnamed | Refusal::Role { .. } => Reason::RoleTooLow,
    }
}

/// Returns the label of a refusal in metrics.
fn denial(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Missing => "no_credential",
        Refusal::Token => "token",
        Refusal::Certificate(_) | Refusal::Unnamed => "certificate",
        Refusal::Role { .. } => "role",
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
        let connection = Connection::of(request.extensions(), &self.layer.limits);
        let method = Method::of(request.uri().path());
        let caller = match self.layer.admit(&request, method, &connection) {
            Ok(caller) => caller,
            Err(error) => return Box::pin(std::future::ready(Ok(status(error).into_http()))),
        };
        let Some(caller) = caller else {
            return Box::pin(self.inner.call(request));
        };
        request.extensions_mut().insert(caller.clone());
        if method.role < Some(qres_access::Role::Operator) {
            return Box::pin(self.inner.call(request));
        }
        let object = AuditObject::default();
        request.extensions_mut().insert(object.clone());
        let future = self.inner.call(request);
        Box::pin(async move {
            let response = future.await?;
            Ok(observe(response, move |ended| {
                audit::write(&caller, &connection, method.name, &object, ended);
            }))
        })
    }
}

#[cfg(test)]
mod tests;
