//! The name of a want.

use qres_fed::id::{BlobId, SpecId};
use qres_store::Owner;

/// Name of a [`DownloadRequest`](super::DownloadRequest); a blob that is wanted again after it was cancelled gets another
/// key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(super) number: u64,
    pub(crate) spec: SpecId,
    pub(crate) blob: BlobId,
}

impl Key {
    /// Returns the [`Owner`] under which the store keeps the blob.
    pub(crate) fn owner(&self) -> Owner {
        Owner::of(self.spec, &self.blob)
    }
}
