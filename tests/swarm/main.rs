//! Tests with real daemons on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

mod admin;
mod aggregation;
mod arrays;
mod backups;
mod bad_input;
mod catch_up;
mod codecs;
mod descriptors;
mod discovery;
mod enrolment;
mod evaluation;
mod full;
mod full_disk;
mod healing;
mod hostile;
mod hostile_callers;
mod members;
mod memberships;
mod optimisers;
mod outcomes;
mod personal;
mod privacy;
mod process;
mod quiet;
mod rounds;
mod schedules;
mod seeds;
mod spans;
mod states;
mod tensors;
mod trace;
mod twins;
mod uploads;
mod watches;

use qres_api::pb;
use tonic::Status;
use tonic_types::StatusExt;

/// Returns the request for a model of the given name with one f32 vector, which is averaged without loss. A round closes when
/// all members are in.
fn vector_model(name: &str, values: &[f32]) -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        name: name.into(),
        codec: Some(pb::Rule {
            id: "none/1".into(),
            ..Default::default()
        }),
        data: qres_tests::weights::vector(values).into(),
        // One hour: a round ends when all members are in, even on a slow machine. A test that needs an earlier end sets its own
        // deadline.
        deadline_ms: Some(3_600_000),
        ..Default::default()
    }
}

/// Returns the id of the head of a joined model.
fn head(model: &pb::Model) -> String {
    model.head.as_ref().expect("a joined model has a head").id.clone()
}

/// Returns the field that the `google.rpc.BadRequest` of a [`Status`] names, otherwise the one that its `ErrorInfo` names.
fn field(status: &Status) -> String {
    let details = status.get_error_details();
    if let Some(bad) = details.bad_request() {
        return bad.field_violations[0].field.clone();
    }
    details
        .error_info()
        .and_then(|info| info.metadata.get("field").cloned())
        .unwrap_or_default()
}
