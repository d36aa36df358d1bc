//! Converts failures to gRPC statuses; no other module does.

use std::collections::HashMap;
use std::time::Duration;

use qres_fed::record::printable;
use qres_node::error::{Kind, NodeError, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::ERROR_DOMAIN;

/// Most bytes of a status message. A message travels percent-encoded (up to 3 bytes for one) and twice in the details, in
/// base64: with 1,024 bytes all that stays below the 8 KiB that implementations allow for trailers.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Milliseconds after which to try again after UNAVAILABLE, if the error names no time.
const RETRY_MS: u64 = 1_000;

/// Converts an error of the node to the [`Status`] that callers get, with code, message and details.
pub(super) fn status(error: NodeError) -> Status {
    // A message may quote text of other nodes, and tools print the message to people as it is: so it is escaped here.
    let message = cut(printable(&error.message).into_owned());
    let field = error.field.unwrap_or_default();
    let mut retry_ms = error.retry_after_ms;
    let mut details = ErrorDetails::new();
    let metadata: HashMap<String, String> = match field.as_str() {
        "" => HashMap::new(),
        field => HashMap::from([("field".to_owned(), field.to_owned())]),
    };
    details.set_error_info(error.reason.name(), ERROR_DOMAIN, metadata);
    let code = match error.reason.kind() {
        Kind::InvalidArgument => {
            details.add_bad_request_violation(field, message.clone());
            Code::InvalidArgument
        }
        Kind::OutOfRange => {
            details.add_bad_request_violation(field, message.clone());
            Code::OutOfRange
        }
        Kind::NotFound => {
            details.set_resource_info(field, "", "", message.clone());
            Code::NotFound
        }
        Kind::AlreadyExists => {
            details.set_resource_info(field, "", "", message.clone());
            Code::AlreadyExists
        }
        Kind::FailedPrecondition => {
            details.add_precondition_failure_violation(error.reason.name(), field, message.clone());
            Code::FailedPrecondition
        }
        Kind::ResourceExhausted => {
            let subject = if field.is_empty() { "node".to_owned() } else { field };
            details.add_quota_failure_violation(subject, message.clone());
            Code::ResourceExhausted
        }
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::PermissionDenied => Code::PermissionDenied,
        Kind::Unavailable => {
            retry_ms = retry_ms.or(Some(RETRY_MS));
            Code::Unavailable
        }
        Kind::Internal => {
            tracing::error!(
                reason = error.reason.name(),
                message,
                "a call failed by this node's own fault"
            );
            Code::Internal
        }
    };
    if let Some(ms) = retry_ms {
        details.set_retry_info(Some(Duration::from_millis(ms)));
    }
    Status::with_error_details(code, message, details)
}

/// Makes the [`Status`] of a call that took longer than its caller allowed. tonic's own answer would be CANCELLED, which
/// retry policies of other languages take for the caller's wish.
pub(super) fn deadline_exceeded(after: Duration) -> Status {
    let message = format!(
        "the call's deadline of {} ms has passed: what was acknowledged stays, ask again or allow more time",
        after.as_millis()
    );
    let mut details = ErrorDetails::new();
    details.set_error_info("DEADLINE_EXCEEDED", ERROR_DOMAIN, HashMap::new());
    Status::with_error_details(Code::DeadlineExceeded, message, details)
}

/// Returns the contract's [`Status`] for an error with which tonic itself answered, or `None` if there is nothing to
/// translate. The statuses of this module carry details, those of tonic none.
pub(super) fn translate(tonics: &Status) -> Option<Status> {
    if !tonics.details().is_empty() {
        return None;
    }
    match tonics.code() {
        // A message above the decoding limit. In the contract OUT_OF_RANGE means a position past the end.
        Code::OutOfRange => Some(status(NodeError::new(
            Reason::MessageTooLarge,
            format!(
                "{}: send data in chunks of at most {} bytes",
                tonics.message(),
                crate::CHUNK_BYTES_MAX
            ),
        ))),
        // The bytes are no message of the expected type, which is the caller's fault.
        Code::Internal if tonics.message().contains("failed to decode") => Some(status(NodeError::new(
            Reason::MalformedMessage,
            format!("{}: is the caller's contract qres.v1?", tonics.message()),
        ))),
        Code::Unimplemented if tonics.message().is_empty() => {
            let mut details = ErrorDetails::new();
            details.set_error_info("UNKNOWN_METHOD", ERROR_DOMAIN, HashMap::new());
            Some(Status::with_error_details(
                Code::Unimplemented,
                "this node has no such method: `grpcurl -plaintext <address> list` shows those it has",
                details,
            ))
        }
        _ => None,
    }
}

/// Cuts a message after at most [`MESSAGE_BYTES_MAX`] bytes, at the end of a character.
fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX - 3).rev().find(|&i| message.is_char_boundary(i));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use tonic::codegen::http::HeaderMap;

    use super::*;

    fn code_of(kind: Kind) -> Code {
        match kind {
            Kind::InvalidArgument => Code::InvalidArgument,
            Kind::NotFound => Code::NotFound,
            Kind::AlreadyExists => Code::AlreadyExists,
            Kind::FailedPrecondition => Code::FailedPrecondition,
            Kind::OutOfRange => Code::OutOfRange,
            Kind::ResourceExhausted => Code::ResourceExhausted,
            Kind::PermissionDenied => Code::PermissionDenied,
            Kind::Unavailable => Code::Unavailable,
            Kind::Unauthenticated => Code::Unauthenticated,
            Kind::Internal => Code::Internal,
        }
    }

    /// Writes the [`Status`] to headers and reads it again, as a caller does.
    fn over_the_wire(status: &Status) -> Status {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn every_failure_keeps_code_reason_field_message_and_retry() {
        for reason in Reason::ALL {
            let error = NodeError::new(*reason, "base: too old, fetch again")
                .field("base")
                .retry_after(1_500);
            let read = over_the_wire(&status(error));
            assert_eq!(read.code(), code_of(reason.kind()));
            assert_eq!(read.message(), "base: too old, fetch again");
            let details = read.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.name(), "qres"));
            assert_eq!(info.metadata["field"], "base");
            assert_eq!(
                details.retry_info().unwrap().retry_delay,
                Some(Duration::from_millis(1_500))
            );
        }
    }

    #[test]
    fn what_a_message_quotes_is_escaped() {
        let read = over_the_wire(&status(NodeError::invalid("f", "peer said \u{1b}[2J\r\n\u{202e}ok")));
        assert_eq!(read.message(), "peer said \\u001b[2J\\r\\n\\u202eok");
    }

    #[test]
    fn each_kind_has_the_detail_that_fits() {
        let of = |reason| status(NodeError::new(reason, "m").field("f")).get_error_details();
        for reason in [Reason::InvalidField, Reason::OffsetPastEnd] {
            let details = of(reason);
            let violation = &details.bad_request().unwrap().field_violations[0];
            assert_eq!((violation.field.as_str(), violation.description.as_str()), ("f", "m"));
        }
        for reason in [Reason::ModelUnknown, Reason::KeyTaken] {
            assert_eq!(of(reason).resource_info().unwrap().resource_type, "f");
        }
        let details = of(Reason::BaseStale);
        let violation = &details.precondition_failure().unwrap().violations[0];
        assert_eq!(
            (violation.r#type.as_str(), violation.subject.as_str()),
            ("BASE_STALE", "f")
        );
        assert_eq!(of(Reason::DiskFull).quota_failure().unwrap().violations[0].subject, "f");
    }

    #[test]
    fn unavailable_always_says_when_to_try_again_and_a_bad_request_never_does() {
        let unavailable = status(NodeError::new(Reason::Busy, "m")).get_error_details();
        assert!(unavailable.retry_info().unwrap().retry_delay.is_some());
        let invalid = status(NodeError::invalid("f", "m")).get_error_details();
        assert!(invalid.retry_info().is_none());
    }

    #[test]
    fn the_longest_message_fits_into_trailers() {
        for character in ["a", "ü", "\u{10348}", "\""] {
            let error = NodeError::invalid("f".repeat(64), character.repeat(20_000));
            let mut headers = HeaderMap::new();
            status(error).add_header(&mut headers).unwrap();
            let bytes: usize = headers.iter().map(|(k, v)| k.as_str().len() + v.len() + 32).sum();
            assert!(bytes < 8 * 1024, "{bytes} bytes for {character:?}");
        }
    }

    #[test]
    fn tonics_own_statuses_are_translated_and_ours_are_left_alone() {
        let large = translate(&Status::out_of_range("message length too large")).unwrap();
        assert_eq!(large.code(), Code::ResourceExhausted);
        assert!(large.message().contains("1048576"), "{}", large.message());
        let garbage = translate(&Status::internal("failed to decode Protobuf message: x")).unwrap();
        assert_eq!(garbage.code(), Code::InvalidArgument);
        let ours = status(NodeError::new(Reason::RevisionAhead, "from_revision: 7"));
        assert!(translate(&over_the_wire(&ours)).is_none());
        assert!(translate(&Status::not_found("unknown service")).is_none());
        assert_eq!(deadline_exceeded(Duration::from_secs(1)).code(), Code::DeadlineExceeded);
    }
}
