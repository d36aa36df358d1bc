//! Errors of calls, for people and for programs.

use std::fmt::Write;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::address::{Address, AddressError, PORT_OF_MESH};
use crate::code;

/// The error of a call that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No node answers at the address.
    #[error("no node answers at {address} ({problem}): {hint}")]
    Connect {
        /// The address, with its port.
        address: String,
        /// The innermost error of the connection.
        problem: String,
        /// The likely mistake, as a hint for people.
        hint: &'static str,
    },
    /// The given text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The files of the [`Credentials`](super::Credentials) cannot be used.
    #[error("{0}")]
    Credentials(String),
    /// The node answered the call with an error, or the connection broke during the call.
    #[error("{}", show(.code, .reason, .field, .message, .retry_after))]
    Refused {
        /// The canonical gRPC code.
        code: Code,
        /// A stable reason for programs, e.g. `BASE_STALE`; empty if the error does not come from the node.
        reason: String,
        /// The field at fault, as the contract names it; empty if there is none.
        field: String,
        /// The message for people: the problem, the limit and the remedy.
        message: String,
        /// Time after which trying again makes sense; `None` if the node named none.
        retry_after: Option<Duration>,
    },
    /// The data to be sent could not be read; nothing was submitted.
    #[error("reading the data to send failed ({0}): nothing was submitted")]
    Data(String),
    /// A stream of data ended before its announced end.
    #[error("the data ended after {got} of {expected} bytes: fetch the checkpoint again from offset {got}")]
    Cut {
        /// Bytes that came, counted from the beginning of the file.
        got: u64,
        /// Bytes of the whole file.
        expected: u64,
    },
    /// The node's answer breaks the contract.
    #[error("the node broke the contract: {0}")]
    Contract(&'static str),
}

impl ClientError {
    /// Returns true if the connection or the node went away and may come back: the caller may connect and call again.
    pub fn is_passing(&self) -> bool {
        match self {
            // tonic reports a connection that broke in the middle of a stream as UNKNOWN.
            Self::Refused { code, reason, .. } => {
                matches!(code, Code::Unavailable)
                    || (matches!(code, Code::Unknown | Code::Cancelled) && reason.is_empty())
            }
            Self::Cut { .. } | Self::Connect { .. } => true,
            Self::Address(_) | Self::Credentials(_) | Self::Data(_) | Self::Contract(_) => false,
        }
    }

    /// Returns the canonical code of [`ClientError::Refused`].
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns the reason for programs, e.g. `BASE_STALE`; empty if the node gave none.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused { reason, .. } => reason,
            _ => "",
        }
    }

    /// Returns the time after which the same call may be tried again; `None` if the node named none.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Returns a hint at the most likely mistake in an [`Address`] at which no node answers.
pub(super) fn hint(address: &Address) -> &'static str {
    match address {
        Address::Socket(_) => "is qres-daemon running with --grpc-socket, and by the same user?",
        Address::Tcp { port: PORT_OF_MESH, .. } => "that is the port of the mesh; the API listens on 4002 by default.",
        Address::Tcp { tls: true, .. } => {
            "is qres-daemon running with TLS here (--grpc-tls-cert), is its certificate for this name, and did the given CA \
             sign it?"
        }
        Address::Tcp { .. } => {
            "is qres-daemon running, and is this its gRPC address? A node with TLS needs https:// or --tls-ca."
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let field_of_request = details
            .bad_request()
            .and_then(|request| request.field_violations.first())
            .map(|violation| violation.field.clone());
        let field = info.and_then(|info| info.metadata.get("field").cloned());
        let message = match std::error::Error::source(&status) {
            // An error of the connection: only the innermost error names the cause.
            Some(source) if status.details().is_empty() => format!("{}: {}", status.message(), innermost(source)),
            _ => status.message().to_owned(),
        };
        // tonic's client also enforces the caller's deadline itself, with the code CANCELLED.
        let code = match std::error::Error::source(&status) {
            Some(source) if is_timeout(source) => Code::DeadlineExceeded,
            _ => status.code(),
        };
        Self::Refused {
            code,
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            field: field.or(field_of_request).unwrap_or_default(),
            message,
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        }
    }
}

/// Formats an error as one line: the field unless the message begins with it, the message, the time after which to try
/// again, code and reason.
fn show(code: &Code, reason: &str, field: &str, message: &str, retry_after: &Option<Duration>) -> String {
    let mut line = String::new();
    if !field.is_empty() && !message.starts_with(field) {
        let _ = write!(line, "{field}: ");
    }
    line.push_str(if message.is_empty() { "no message" } else { message });
    if let Some(delay) = retry_after {
        let _ = write!(line, " (try again in {:.1} s)", delay.as_secs_f64());
    }
    let _ = write!(line, " [{}", code::name(*code));
    if !reason.is_empty() && reason != code::name(*code) {
        let _ = write!(line, " {reason}");
    }
    line.push(']');
    line
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<tonic::TimeoutExpired>() || error.source().is_some_and(is_timeout)
}

/// Returns the text of the error at the end of the chain. It names the cause; the others only say "transport error".
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn an_error_shows_field_message_remedy_code_and_reason() {
        let mut details = ErrorDetails::new();
        details.set_error_info("BASE_STALE", "qres", HashMap::from([("field".into(), "base".into())]));
        details.set_retry_info(Some(Duration::from_millis(1_500)));
        let status = Status::with_error_details(Code::FailedPrecondition, "too old: fetch the head", details);
        let error = ClientError::from(status);
        assert_eq!(
            error.to_string(),
            "base: too old: fetch the head (try again in 1.5 s) [FAILED_PRECONDITION BASE_STALE]"
        );
        assert_eq!(error.reason(), "BASE_STALE");
        assert_eq!(error.code(), Some(Code::FailedPrecondition));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_message_that_names_its_field_does_not_name_it_twice() {
        let details = ErrorDetails::with_bad_request_violation("samples", "samples: 0 is no count");
        let status = Status::with_error_details(Code::InvalidArgument, "samples: 0 is no count", details);
        assert_eq!(
            ClientError::from(status).to_string(),
            "samples: 0 is no count [INVALID_ARGUMENT]"
        );
    }

    #[test]
    fn details_that_are_garbage_leave_code_and_message() {
        let status = Status::with_details(Code::Internal, "broken", bytes::Bytes::from_static(b"\xff\xff"));
        assert_eq!(ClientError::from(status).to_string(), "broken [INTERNAL]");
    }
}
