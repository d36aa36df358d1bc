//! Bytes that a caller of gRPC sends: metadata, and the fields of requests.

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use prost::Message;
use qres_api::pb;
use qres_api::server::fuzzing;
use qres_fed::record::is_printable;
use tonic::Status;
use tonic::codegen::http::{HeaderMap, HeaderValue};

use crate::Target;

/// Reads the metadata `grpc-timeout`, `traceparent` and `tracestate`, one on each line.
pub const METADATA: Target = Target {
    name: "grpc-metadata",
    run: |_, data| {
        let mut headers = HeaderMap::new();
        let names = ["grpc-timeout", "traceparent", "tracestate"];
        for (name, line) in names.into_iter().zip(data.split(|byte| *byte == b'\n')) {
            if let Ok(value) = HeaderValue::from_bytes(line) {
                headers.insert(name, value);
            }
        }
        let timeout = fuzzing::timeout(&headers);
        TraceContextPropagator::new().extract(&fuzzing::Metadata(&headers));
        if let Some(text) = headers.get("traceparent").and_then(|value| value.to_str().ok()) {
            qres_wire::trace::link_text(text);
        }
        timeout.is_some()
    },
    seeds: |_| {
        [
            "100m\n00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nvendor=value,other=1",
            "99999999H\n00-00000000000000000000000000000000-00f067aa0ba902b7-00\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into()
    },
};

/// Reads a request; the first byte selects its type.
pub const FIELDS: Target = Target {
    name: "grpc-fields",
    run: |_, data| {
        let Some((kind, data)) = data.split_first() else {
            return false;
        };
        match kind {
            0 => checked(pb::SubmitWeightsRequest::decode(data).map(fuzzing::submit)),
            1 => checked(pb::CreateModelRequest::decode(data).map(fuzzing::create)),
            2 => checked(pb::FetchWeightsRequest::decode(data).map(fuzzing::fetch)),
            3 => checked(pb::PublishStateRequest::decode(data).map(fuzzing::publish)),
            _ => checked(pb::ListModelsRequest::decode(data).map(fuzzing::page)),
        }
    },
    seeds,
};

fn checked(read: Result<Result<(), Status>, prost::DecodeError>) -> bool {
    let Ok(read) = read else { return false };
    let Err(status) = read else { return true };
    assert!(status.message().chars().all(is_printable), "{status:?}");
    assert!(!status.details().is_empty(), "{status:?}");
    false
}

fn seeds(_: &crate::Fixture) -> Vec<Vec<u8>> {
    let id = "ab".repeat(32);
    let rule = |id: &str| pb::Rule {
        id: id.into(),
        params: [("mu".to_owned(), 0.1)].into(),
    };
    let submit = pb::SubmitWeightsRequest {
        model: format!("digits-mlp@{id}"),
        base: id.clone(),
        trainer: "t".into(),
        samples: 5,
        metrics: [("loss".to_owned(), 0.5)].into(),
        idempotency_key: "k".into(),
        offset: 3,
        total_bytes: Some(9),
        digest: id.clone(),
        ..Default::default()
    };
    let create = pb::CreateModelRequest {
        name: "metabrain/v4".into(),
        strategy: Some(rule("fedprox/1")),
        codec: Some(rule("int8/1")),
        members: vec!["12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp".into()],
        min_contributions: Some(1),
        tensors: vec![pb::TensorSpec {
            name: "w".into(),
            dtype: "F32".into(),
            shape: vec![2, 3],
            kind: 0,
        }],
        seed: Some(1),
        ..Default::default()
    };
    let fetch = pb::FetchWeightsRequest {
        model: "m".into(),
        checkpoint: id.clone(),
        offset: 5,
        ..Default::default()
    };
    let publish = pb::PublishStateRequest {
        model: "m".into(),
        name: "scene".into(),
        codec: Some(rule("none/1")),
        data: b"data".as_slice().into(),
        ..Default::default()
    };
    let list = pb::ListModelsRequest {
        page_size: 7,
        page_token: "50".into(),
    };
    let messages = [
        submit.encode_to_vec(),
        create.encode_to_vec(),
        fetch.encode_to_vec(),
        publish.encode_to_vec(),
        list.encode_to_vec(),
    ];
    let kinds = (0_u8..).zip(messages);
    kinds.map(|(kind, bytes)| [&[kind][..], &bytes].concat()).collect()
}
