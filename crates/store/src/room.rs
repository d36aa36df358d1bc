//! Room for what is written: the check before the first byte of something large, and what gives way on a full disk.

use std::io::ErrorKind;

use super::reserve::free_bytes;
use super::{BlobStore, StoreError};

impl BlobStore {
    /// Checks that `bytes` more bytes fit below the limit and on the disk; else fails with [`StoreError::Full`]. Success
    /// is no promise: others write meanwhile, and each byte is counted when it is written.
    pub fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        let left = self.usage().room();
        // Unfinished uploads give way to this, so only whole blobs count here.
        if !self.usage().could_take(bytes) {
            return Err(StoreError::Full(format!(
                "blob_bytes_max leaves {left} bytes, {bytes} more are asked for: raise it or keep less"
            )));
        }
        let free = || free_bytes(self.root()).unwrap_or(u64::MAX);
        if bytes > free() {
            // Spare files count as free room: they are removed.
            self.spares().shrink(0);
        }
        let free = free();
        if bytes > free {
            return Err(StoreError::Full(format!(
                "{} has {free} bytes left, {bytes} more are asked for",
                self.root().display()
            )));
        }
        Ok(())
    }

    /// Makes room on a full disk: removes all spare files at the first call, then one unfinished upload a call, the
    /// oldest first. Returns `false` when there is nothing more to remove.
    pub(super) fn give_way(&self) -> bool {
        self.spares().shrink(0) || self.discard_unfinished().unwrap_or(false)
    }

    /// Does `work`. While the disk is full, makes room with [`BlobStore::give_way`] and does `work` again; returns the
    /// error when there is nothing more to remove.
    pub(super) fn with_room<T>(&self, work: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
        let full = |error: &std::io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        loop {
            match work() {
                Err(error) if full(&error) && self.give_way() => {}
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Quota, Store, StoreOptions};
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let open = |blob_bytes_max| Store::open(dir.path(), StoreOptions { blob_bytes_max }).unwrap();
        let refused = |store: &Store, bytes| match store.blobs().check_room(bytes) {
            Err(StoreError::Full(why)) => why,
            other => panic!("{other:?}"),
        };
        let limited = open(Quota::Bytes(10));
        limited.blobs().check_room(10).unwrap();
        assert!(refused(&limited, 11).contains("blob_bytes_max leaves 10 bytes"));
        drop(limited);
        let unlimited = open(Quota::Unlimited);
        unlimited.blobs().check_room(1).unwrap();
        assert!(refused(&unlimited, u64::MAX - 1).contains("bytes left"));
    }
}
