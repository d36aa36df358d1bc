//! Events of the downloads.

use qres_fed::id::{BlobId, NodeId, SpecId};

/// Result of a [`DownloadRequest`](super::DownloadRequest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadEvent {
    /// The blob is in the store, and its digest is right.
    Here {
        /// The model that the blob is for.
        spec: SpecId,
        /// Id of the blob in the store.
        blob: BlobId,
        /// The peer that sent the last part of the blob; all zeros if the blob was in the store before.
        from: NodeId,
    },
}
