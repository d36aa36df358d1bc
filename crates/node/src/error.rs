//! What can go wrong for a caller: who is at fault, which field, what to do.

pub use crate::reason::Reason;

/// The canonical kind of a failure; `api` maps each to one gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request can never work as it is.
    InvalidArgument,
    /// What it names is not here.
    NotFound,
    /// Something else is there under that name or key.
    AlreadyExists,
    /// The node or the model is not in a state for it.
    FailedPrecondition,
    /// A position past the end: an offset, a revision.
    OutOfRange,
    /// A limit or the disk is full.
    ResourceExhausted,
    /// The caller, or this node, may not.
    PermissionDenied,
    /// Not now: try again.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// A failure as a caller needs to hear it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct NodeError {
    /// A stable reason for programs; its kind gives the code.
    pub reason: Reason,
    /// The field at fault, as the contract names it.
    pub field: Option<String>,
    /// For people: what is wrong, the limit and the remedy.
    pub message: String,
    /// When trying again makes sense.
    pub retry_after_ms: Option<u64>,
}

impl NodeError {
    /// A failure without a field.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: None,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// A request that can never work, by its field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidField, message).field(field)
    }

    /// Names the field at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }
}
