//! Errors of an exchange with a peer, and the [`Fault`] that the peer is penalized for.

use std::time::Duration;

use qres_mesh::{Fault, MeshError};
use qres_store::StoreError;

/// Reason why an exchange with a peer failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    #[error("the stream broke: {0}")]
    Broken(#[from] std::io::Error),
    #[error("the peer closed the stream in the middle of {0}")]
    Closed(&'static str),
    #[error("no byte of {what} for {after:?}")]
    Stalled { what: &'static str, after: Duration },
    #[error("{what} took longer than {limit:?}")]
    Slow { what: &'static str, limit: Duration },
    #[error("{what} of {given} is above the limit of {limit}")]
    TooLarge { what: &'static str, given: u64, limit: u64 },
    #[error("malformed {what}: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("forged: {0}")]
    Forged(String),
    #[error("a length of {given} bytes, where {limit} was announced or allowed at most")]
    Length { given: u64, limit: u64 },
    #[error("its place went to a peer that waited: this one was slow, or a stranger in a member's way")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mesh(#[from] MeshError),
    #[error("this node is stopping")]
    Stopping,
}

impl TransferError {
    /// Makes the error [`TransferError::Malformed`] for bytes that no honest peer sends.
    pub(crate) fn malformed(what: &'static str, why: impl Into<String>) -> Self {
        Self::Malformed { what, why: why.into() }
    }

    /// Returns the fault of the peer, as far as one exchange can tell. A broken stream is not its fault, and neither is a
    /// wrong length: the record that announced the length may be the one that is wrong.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Stalled { .. } | Self::Slow { .. } => Some(Fault::Withheld),
            Self::TooLarge { .. } | Self::Malformed { .. } => Some(Fault::Protocol),
            Self::Forged(_) => Some(Fault::Forged),
            Self::Broken(_)
            | Self::Closed(_)
            | Self::Length { .. }
            | Self::Revoked
            | Self::Store(_)
            | Self::Mesh(_)
            | Self::Stopping => None,
        }
    }
}
