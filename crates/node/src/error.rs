//! Failures as callers see them: the side at fault, the field, and the remedy.

use qres_mesh::MeshError;
use qres_store::StoreError;

pub use crate::reason::{Kind, Reason};

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

    /// Creates the failure [`Reason::PeerNotReached`] of a dial, with the reason why no connection came about.
    pub(crate) fn unreached(why: &str) -> Self {
        Self::new(Reason::PeerNotReached, format!("not connected: {why}"))
            .field("address")
            .retry_after(1000)
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

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Full(_) => Self::new(Reason::DiskFull, message).retry_after(10_000),
            StoreError::UploadQuota { .. } => Self::new(Reason::UploadQuota, message).field("idempotency_key"),
            StoreError::UploadsKept(_) => Self::new(Reason::UploadsKept, message)
                .field("idempotency_key")
                .retry_after(10_000),
            StoreError::Offset { .. } => Self::new(Reason::OffsetPastKept, message).field("offset"),
            StoreError::Overtaken => Self::new(Reason::UploadOvertaken, message).field("idempotency_key"),
            _ => Self::new(Reason::Store, message),
        }
    }
}

impl From<MeshError> for NodeError {
    fn from(error: MeshError) -> Self {
        let message = error.to_string();
        match error {
            MeshError::Address(_) => Self::invalid("address", message),
            MeshError::NotConnected(_) => Self::new(Reason::PeerNotConnected, message),
            MeshError::TooLarge { .. } => Self::new(Reason::MessageTooLarge, message),
            MeshError::Dial(why) => Self::unreached(&why),
            _ => Self::new(Reason::Mesh, message).retry_after(1000),
        }
    }
}
