//! Tests of the access layer, around a service that answers every call.

use std::num::NonZeroU32;

use qres_access::{Caller, Callers, Policy, Role, Token};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::server::metrics::Metrics;
use crate::server::security::{Security, fixed};

const FETCH: &str = "/qres.v1.WeightsService/FetchWeights";
const BAN: &str = "/qres.v1.PeerService/BanPeer";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A policy with one caller, and the caller's token.
fn policy(role: Role) -> (Policy, Token) {
    let token = Token::generate().unwrap();
    let text = format!(
        "[[caller]]\nname = \"alice\"\nrole = \"{role}\"\ntoken = \"{}\"\n",
        token.hash()
    );
    (Policy::new(Some(Callers::parse(&text).unwrap()), None), token)
}

fn layer(policy: Policy, calls_per_s: Option<NonZeroU32>) -> AccessLayer {
    let limits = Limits {
        calls_per_s,
        ..Limits::default()
    };
    let security = fixed(Security { policy, tls: None });
    let judge = Judge::new(security, calls_per_s, Metrics::default());
    AccessLayer::new(judge, Arc::new(limits))
}

/// Calls through the layer. Returns the caller that the service saw, or the refusal.
async fn call(layer: &AccessLayer, path: &str, authorization: Option<&str>) -> Result<Option<Caller>, Status> {
    let service = tower::service_fn(|request: Request| async move {
        let mut response = Response::new(Body::empty());
        if let Some(caller) = request.extensions().get::<Caller>() {
            response.extensions_mut().insert(caller.clone());
        }
        Ok::<_, Status>(response)
    });
    let mut request = http::Request::builder().uri(path);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    let response = layer.layer(service).call(request.body(Body::empty()).unwrap()).await?;
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(response.extensions().get::<Caller>().cloned()),
    }
}

#[tokio::test]
async fn without_a_credential_only_a_probe_gets_through() {
    let layer = layer(policy(Role::Reader).0, None);
    assert_eq!(call(&layer, HEALTH, None).await.unwrap(), None);
    // A path that is not served is refused alike, so a caller does not learn what there is.
    for path in [FETCH, BAN, "/qres.v1.Nothing/Nothing"] {
        let error = call(&layer, path, None).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{path}");
        assert_eq!(error.get_details_error_info().unwrap().reason, "CREDENTIAL_MISSING");
    }
}

#[tokio::test]
async fn a_bad_credential_is_refused_however_it_is_written() {
    let (policy, token) = policy(Role::Operator);
    let layer = layer(policy, None);
    let shortened = format!("Bearer {}", &token.text()[..20]);
    for value in [
        "Bearer",
        "Bearer ",
        "Bearer qres_x",
        "Basic YTpi",
        token.text(),
        &shortened,
    ] {
        let error = call(&layer, FETCH, Some(value)).await.unwrap_err();
        assert_eq!(error.code(), Code::Unauthenticated, "{value}");
        assert!(!error.message().contains(token.text()));
    }
    for value in [format!("Bearer {}", token.text()), format!("bearer  {}", token.text())] {
        assert_eq!(call(&layer, FETCH, Some(&value)).await.unwrap().unwrap().name, "alice");
    }
}

#[tokio::test]
async fn a_role_that_is_too_low_is_told_which_one_is_needed() {
    let (policy, token) = policy(Role::Trainer);
    let layer = layer(policy, None);
    let value = format!("Bearer {}", token.text());
    assert!(call(&layer, FETCH, Some(&value)).await.is_ok());
    let error = call(&layer, BAN, Some(&value)).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(error.message().contains("operator"), "{error}");
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_when_to_come_again() {
    let (policy, token) = policy(Role::Reader);
    let layer = layer(policy, NonZeroU32::new(1));
    let value = format!("Bearer {}", token.text());
    assert!(call(&layer, FETCH, Some(&value)).await.is_ok());
    let error = call(&layer, FETCH, Some(&value)).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.get_details_retry_info().is_some());
    assert!(call(&layer, HEALTH, None).await.is_ok(), "probes have no rate");
}
