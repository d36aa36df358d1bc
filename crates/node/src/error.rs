//! Failures as callers see them: the side at fault, the field, and the remedy.

pub use crate::reason::Reason;

/// The canonical kind of a failure; `api` maps each to one gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request can never work as it is.
    InvalidArgument,
    /// The thing that the request names is not here.
    NotFound,
    /// Another thing is there under that name or key.
    AlreadyExists,
    /// The node or the model is not in a state for the request.
    FailedPrecondition,
    /// A position past the end: an offset, a revision.
    OutOfRange,
    /// A limit or the disk is full.
    ResourceExhausted,
    /// The caller, or this node, may not do this.
    PermissionDenied,
    /// The request cannot be served now: try again.
    Unavailable,
    /// This node itself is at fault.
    Internal,
}

/// A failure as a caller needs to hear it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct NodeError {
    /// A stable reason for programs; [`Reason::kind`] gives the gRPC code.
    pub reason: Reason,
    /// The field at fault, as the contract names it.
    pub field: Option<String>,
    /// A text for people: what is wrong, the limit and the remedy.
    pub message: String,
    /// The time, in ms, after which trying again makes sense.
    pub retry_after_ms: Option<u64>,
}

impl NodeError {
    /// Creates a failure without a field.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: None,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// Creates the failure [`Reason::InvalidField`] of a request that can never work, with the field at fault.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidField, message).field(field)
    }

    /// Names the field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Sets the time, in ms, after which to try again.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}
