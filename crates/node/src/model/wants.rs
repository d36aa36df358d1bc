//! The blobs that a model's machine wants, and how far each has come.

use std::collections::BTreeMap;

use qres_fed::id::BlobId;

/// A blob that the machine wants.
#[derive(Debug, Clone, Copy)]
struct WantedBlob {
    /// True for an update, false for weights.
    update: bool,
    /// True while the blob is in the store and being checked.
    checking: bool,
}

/// The blobs that a model's machine wants, bounded by the machine's own limit.
#[derive(Debug, Default)]
pub struct BlobWants(BTreeMap<BlobId, WantedBlob>);

impl BlobWants {
    /// Adds a blob, which is checked already if it is in the store.
    pub fn add(&mut self, blob: BlobId, update: bool, checking: bool) {
        self.0.insert(blob, WantedBlob { update, checking });
    }

    /// Removes a blob that is not wanted any more.
    pub fn remove(&mut self, blob: &BlobId) {
        self.0.remove(blob);
    }

    /// Removes a blob that was checked as an update or as weights; one that is wanted as the other stays.
    pub fn checked(&mut self, blob: &BlobId, update: bool) {
        self.0.retain(|b, wanted| b != blob || wanted.update != update);
    }

    /// Returns true for an update, and false for weights, if the blob is wanted and not being checked: from here on it is.
    pub fn begin_check(&mut self, blob: &BlobId) -> Option<bool> {
        let wanted = self.0.get_mut(blob).filter(|wanted| !wanted.checking)?;
        wanted.checking = true;
        Some(wanted.update)
    }

    /// Returns true for an update, and false for weights, if the blob is wanted.
    pub fn is_update(&self, blob: &BlobId) -> Option<bool> {
        self.0.get(blob).map(|wanted| wanted.update)
    }

    /// Returns all blobs that are wanted.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        self.0.keys()
    }
}
