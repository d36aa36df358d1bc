//! The failure of a command, as the node reported it or as this tool found it.

use std::fmt;
use std::time::Duration;

use qres_api::client::ClientError;
use serde_json::{Value, json};
use tonic::{Code, Status};

/// The error of a failed command: one paragraph with the field at fault and the remedy.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The node refused the call, or could not be reached.
    Node(ClientError),
    /// A failure on this side, of a file or of the command line for example.
    Local(String),
    /// A failure that the command's output has told.
    Told,
}

impl Failure {
    /// Makes a [`Failure::Local`] with this message.
    pub fn local(message: impl Into<String>) -> Self {
        Self::Local(message.into())
    }

    /// Makes a [`Failure::Local`] for a file that cannot be used.
    pub fn file(path: &std::path::Path, error: impl fmt::Display) -> Self {
        Self::Local(format!("{}: {error}", path.display()))
    }

    /// Returns true if the connection or the node went away and may come back.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Node(error) if error.is_passing())
    }

    /// Returns the reason for programs, e.g. `BASE_STALE`; empty if no node gave one.
    pub fn reason(&self) -> &str {
        match self {
            Self::Node(error) => error.reason(),
            Self::Local(_) | Self::Told => "",
        }
    }

    /// Returns true if the node has nothing of that name (NOT_FOUND).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Node(error) if error.code() == Some(Code::NotFound))
    }

    /// Returns true if the connection broke without an answer of the node, as it does when only one side speaks TLS.
    ///
    /// The code depends on the moment of the break: CANCELLED stands for a call that was still waiting to be sent.
    pub fn is_no_http2(&self) -> bool {
        use Code::{Cancelled, Internal, Unavailable, Unknown};
        let broke = |code| matches!(code, Some(Unknown | Internal | Unavailable | Cancelled));
        matches!(self, Self::Node(error) if error.reason().is_empty() && broke(error.code()))
    }

    /// Returns the time after which trying again makes sense, if the node named one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Node(error) => error.retry_after(),
            Self::Local(_) | Self::Told => None,
        }
    }

    /// Formats the failure for programs: code and reason as the contract names them, `UNAVAILABLE` and `UNREACHABLE` if no node
    /// answers, and `LOCAL` for every other failure that is not a status of the node.
    pub fn json(&self) -> Value {
        let (code, reason, field, message) = match self {
            Self::Node(ClientError::Refused {
                code,
                reason,
                field,
                message,
                ..
            }) => (code_name(*code), reason.as_str(), field.as_str(), message.clone()),
            Self::Node(error @ ClientError::Connect { .. }) => ("UNAVAILABLE", "UNREACHABLE", "", error.to_string()),
            Self::Node(error) => ("LOCAL", "", "", error.to_string()),
            Self::Local(message) => ("LOCAL", "", "", message.clone()),
            Self::Told => ("LOCAL", "", "", String::new()),
        };
        let retry_after_ms = self
            .retry_after()
            .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        json!({"error": {
            "code": code, "reason": reason, "field": field, "message": message, "retry_after_ms": retry_after_ms,
        }})
    }
}

/// Returns the name of a [`Code`] as the contract writes it: tonic's own name in capitals with underscores.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(error @ ClientError::Connect { .. }) => {
                write!(f, "{error} Name another with --addr or QRES_ADDR")
            }
            Self::Node(error) => error.fmt(f),
            Self::Local(message) => f.write_str(message),
            Self::Told => Ok(()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Node(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Node(status.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_read_code_reason_field_and_when_to_try_again() {
        let failure = Failure::Node(ClientError::Refused {
            code: Code::FailedPrecondition,
            reason: "BASE_STALE".into(),
            field: "base".into(),
            message: "too old: fetch again".into(),
            retry_after: Some(Duration::from_millis(1500)),
        });
        let expected = json!({"error": {
            "code": "FAILED_PRECONDITION", "reason": "BASE_STALE", "field": "base", "message": "too old: fetch again",
            "retry_after_ms": 1500,
        }});
        assert_eq!(failure.json(), expected);
        assert!(!failure.is_passing());
        assert_eq!(Failure::local("no").json()["error"]["code"], "LOCAL");
    }

    #[test]
    fn a_connection_that_breaks_at_any_moment_may_be_one_of_tls() {
        for code in [Code::Unknown, Code::Internal, Code::Unavailable, Code::Cancelled] {
            assert!(
                Failure::from(Status::new(code, "connection closed")).is_no_http2(),
                "{code:?}"
            );
        }
        assert!(!Failure::from(Status::not_found("m")).is_no_http2());
        assert!(!Failure::local("x").is_no_http2());
    }

    #[test]
    fn a_broken_connection_passes_and_a_refusal_does_not() {
        assert!(Failure::from(Status::unavailable("gone")).is_passing());
        assert!(Failure::from(Status::unknown("transport error")).is_passing());
        assert!(!Failure::from(Status::not_found("m")).is_passing());
        assert!(Failure::from(Status::not_found("m")).is_not_found());
        assert!(!Failure::local("x").is_passing());
    }
}
