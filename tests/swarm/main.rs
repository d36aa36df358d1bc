//! Real daemons on loopback.

mod backups;
mod bad_input;
mod catch_up;
mod descriptors;
mod discovery;
mod enrolment;
mod full;
mod full_disk;
mod healing;
mod hostile;
mod hostile_callers;
mod memberships;
mod process;
mod rounds;
mod seeds;
mod states;
mod tensors;
mod trace;
mod twins;
mod uploads;
mod watches;

use qres_api::pb;
use tonic::Status;
use tonic_types::StatusExt;

/// A model of the given name with one f32 vector, averaged as it is, closing when all members are in.
fn vector_model(name: &str, values: &[f32]) -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        name: name.into(),
        codec: Some(pb::Rule {
            id: "none/1".into(),
            ..Default::default()
        }),
        data: qres_tests::weights::vector(values).into(),
        // A round ends when all are in, however slow the machine is: who wants one to end without some says when.
        deadline_ms: Some(3_600_000),
        ..Default::default()
    }
}

/// The head's id.
fn head(model: &pb::Model) -> String {
    model.head.as_ref().expect("a joined model has a head").id.clone()
}

/// The field that `google.rpc.BadRequest` (or the precondition) names.
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
