//! The hold of a stream on an upload with a key: the right to write to it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
        let turn = lock(&self.lease.slot);
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
        lock(self.store.uploads()).leave(&self.name, || file::len(&path));
    }
}

impl BlobStore {
    pub(super) fn lease(&self, name: Name) -> Lease {
        let slot = lock(self.uploads()).enter(name);
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

/// Locks a mutex, poisoned or not. Poison tells of a panic elsewhere; a number and a table of slots are whole at any
/// time.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
