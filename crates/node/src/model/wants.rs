//! The blobs that a model's machine wants, and how far each has come.

use std::collections::BTreeMap;

use qres_fed::id::BlobId;
use qres_fed::record::BlobRole;

/// A blob that the machine wants.
#[derive(Debug, Clone, Copy)]
struct WantedBlob {
    role: BlobRole,
    /// True while the blob is in the store and being checked.
    checking: bool,
}

/// The blobs that a model's machine wants, bounded by the machine's own limit.
#[derive(Debug, Default)]
pub struct BlobWants(BTreeMap<BlobId, WantedBlob>);

impl BlobWants {
    /// Adds a blob, which is checked already if it is in the store.
    pub fn add(&mut self, blob: BlobId, role: BlobRole, checking: bool) {
        self.0.insert(blob, WantedBlob { role, checking });
    }

    /// Removes a blob that is not wanted any more.
    pub fn remove(&mut self, blob: &BlobId) {
        self.0.remove(blob);
    }

    /// Removes a blob that was checked in a role; a blob that is wanted in another role stays.
    pub fn checked(&mut self, blob: &BlobId, role: BlobRole) {
        self.0.retain(|b, wanted| b != blob || wanted.role != role);
    }

    /// Returns the role of a blob that is wanted and not being checked: from here on it is.
    pub fn begin_check(&mut self, blob: &BlobId) -> Option<BlobRole> {
        let wanted = self.0.get_mut(blob).filter(|wanted| !wanted.checking)?;
        wanted.checking = true;
        Some(wanted.role)
    }

    /// Returns the role of a blob that is wanted.
    pub fn role(&self, blob: &BlobId) -> Option<BlobRole> {
        self.0.get(blob).map(|wanted| wanted.role)
    }

    /// Returns all blobs that are wanted.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        self.0.keys()
    }
}
