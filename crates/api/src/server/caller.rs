//! The caller of a request, as the access layer found it.

use qres_access::Caller;
use qres_node::error::{NodeError, Reason};
use tonic::Status;
use tonic::codegen::http::Extensions;

use super::status::status;

/// Returns the name under which a request's caller trains: the given one, or the caller's own if it may use no other.
pub(super) fn trainer(extensions: &Extensions, given: String) -> Result<String, Status> {
    let Some(own) = extensions.get::<Caller>().and_then(Caller::trainer) else {
        return Ok(given);
    };
    if given.is_empty() || given == own {
        return Ok(own.to_owned());
    }
    let message =
        format!("trainer {given:?}: the caller {own:?} may act under its own name alone: leave the field empty");
    Err(status(NodeError::new(Reason::TrainerDiffers, message).field("trainer")))
}

/// Returns an upload's key as the node knows it. A trainer's keys are its own: another trainer with the same key neither sees nor
/// continues its upload.
pub(super) fn key(extensions: &Extensions, given: String) -> String {
    match extensions.get::<Caller>().and_then(Caller::trainer) {
        Some(own) if !given.is_empty() => format!("{own}/{given}"),
        _ => given,
    }
}

#[cfg(test)]
mod tests {
    use qres_access::{Credential, Role};
    use tonic::Code;

    use super::*;

    fn called_by(caller: Caller) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(caller);
        extensions
    }

    #[test]
    fn a_trainer_acts_under_its_own_name_alone() {
        let alice = called_by(Caller {
            name: "alice".into(),
            role: Role::Trainer,
            credential: Credential::Token,
        });
        assert_eq!(trainer(&alice, String::new()).unwrap(), "alice");
        assert_eq!(trainer(&alice, "alice".into()).unwrap(), "alice");
        assert_eq!(
            (key(&alice, "k".into()), key(&alice, String::new())),
            ("alice/k".into(), String::new())
        );
        let error = trainer(&alice, "bob".into()).unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied);
    }

    #[test]
    fn an_operator_and_a_caller_without_a_name_use_any() {
        for caller in [Caller::local(), Caller::socket()] {
            assert_eq!(trainer(&called_by(caller.clone()), String::new()).unwrap(), "");
            assert_eq!(trainer(&called_by(caller), "bob".into()).unwrap(), "bob");
        }
    }
}
