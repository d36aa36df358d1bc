//! The hold of a stream on an upload with a key: the right to write to it.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::unfinished::{Name, Slot};
use super::{BlobStore, StoreError, file};

/// The right of one stream to write to an upload, until another stream takes over ([`StoreError::Overtaken`]).
#[derive(Clone)]
pub(super) struct Hold {
    /// Keeps the upload's slot in the table while a stream holds it.
    pub(super) lease: Arc<Lease>,
    pub(super) number: u64,
}

/// A place in the table of unfinished uploads, kept while a stream holds the upload.
pub(super) struct Lease {
    store: BlobStore,
    pub(super) name: Name,
    pub(super) slot: Slot,
}

impl Hold {
    /// Locks the upload's file for this stream while the returned guard lives. Fails with [`StoreError::Overtaken`] when
    /// a later stream has taken the upload over.
    pub(super) fn turn(&self) -> Result<MutexGuard<'_, u64>, StoreError> {
        let turn = self.lease.slot.lock();
        if *turn == self.number {
            Ok(turn)
        } else {
            Err(StoreError::Overtaken)
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let path = self.store.upload_path(self.name);
        self.store.uploads().lock().leave(&self.name, || file::len(&path));
    }
}

impl BlobStore {
    pub(super) fn lease(&self, name: Name) -> Lease {
        let slot = self.uploads().lock().enter(name);
        Lease {
            store: self.clone(),
            name,
            slot,
        }
    }

    pub(super) fn upload_path(&self, name: Name) -> PathBuf {
        self.root().join("uploads").join(hex::encode(name))
    }
}
