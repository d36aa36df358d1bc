//! The table of unfinished uploads with a key: their lengths, and the streams that write to them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::directory::Directory;
use super::{StoreError, file};

/// Largest number of uploads kept at once, empty ones included: each is a file. More than the streams at a time, and than
/// the trainers of a node.
pub(super) const UPLOADS_KEPT_MAX: usize = 2048;

/// Number of the latest stream of an upload, which alone may write to it. Locked while the upload's file changes.
pub(super) type Slot = Arc<Mutex<u64>>;
/// BLAKE3 of a caller's key.
pub(super) type Name = [u8; 32];

/// All unfinished uploads of a store.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    uploads: HashMap<Name, Upload>,
    /// Bytes of all uploads. An append counts before it is written.
    bytes: u64,
    /// Counter that grows with every change: the upload with the lowest [`Upload::changed`] is the oldest.
    clock: u64,
}

#[derive(Debug)]
struct Upload {
    bytes: u64,
    changed: u64,
    slot: Slot,
    /// Number of streams that hold the upload.
    holders: usize,
}

impl Unfinished {
    /// Reads the kept uploads at the start, sorted by age. After a reboot removes them all: bytes that were never flushed
    /// may be anything.
    pub(super) fn recover(directory: &Directory) -> Result<Self, StoreError> {
        let uploads = directory.root().join("uploads");
        let mut found = file::files(&uploads)?;
        found.sort_by_key(|(_, metadata)| metadata.modified().ok());
        let mut all = Self::default();
        for (text, metadata) in found {
            let mut name = [0; 32];
            if directory.rebooted() || hex::decode_to_slice(&text, &mut name).is_err() {
                file::remove(&uploads.join(text))?;
            } else {
                all.set(name, metadata.len());
            }
        }
        Ok(all)
    }

    /// Returns the bytes of all uploads.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of uploads.
    pub(super) fn count(&self) -> usize {
        self.uploads.len()
    }

    /// Returns the names of all uploads.
    pub(super) fn names(&self) -> Vec<Name> {
        self.uploads.keys().copied().collect()
    }

    /// Returns the bytes of an upload that are kept or about to be appended; `None` when there is no such upload.
    pub(super) fn kept(&self, name: &Name) -> Option<u64> {
        self.uploads.get(name).map(|upload| upload.bytes)
    }

    /// Counts one more stream that holds the upload, and adds the upload if it is new. Returns its slot.
    pub(super) fn enter(&mut self, name: Name) -> Slot {
        if !self.uploads.contains_key(&name) {
            self.set(name, 0);
        }
        let Some(upload) = self.uploads.get_mut(&name) else {
            return Slot::default();
        };
        upload.holders += 1;
        upload.slot.clone()
    }

    /// Counts one stream less. When the last stream of an upload leaves, sets its length to `bytes`, the length on the
    /// disk; `None` removes the upload, as it has no file.
    pub(super) fn leave(&mut self, name: &Name, bytes: impl FnOnce() -> Option<u64>) {
        let Some(upload) = self.uploads.get_mut(name) else {
            return;
        };
        upload.holders = upload.holders.saturating_sub(1);
        if upload.holders > 0 {
            return;
        }
        let Some(bytes) = bytes() else {
            self.remove(name);
            return;
        };
        self.bytes = self.bytes.saturating_sub(upload.bytes).saturating_add(bytes);
        upload.bytes = bytes;
    }

    /// Counts bytes that are about to be appended.
    pub(super) fn append(&mut self, name: &Name, bytes: u64) {
        self.clock += 1;
        if let Some(upload) = self.uploads.get_mut(name) {
            upload.bytes = upload.bytes.saturating_add(bytes);
            upload.changed = self.clock;
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Takes back bytes that were counted and are not appended.
    pub(super) fn take_back(&mut self, name: &Name, bytes: u64) {
        if let Some(upload) = self.uploads.get_mut(name) {
            upload.bytes = upload.bytes.saturating_sub(bytes);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Returns the oldest upload that no stream holds.
    pub(super) fn oldest_idle(&self) -> Option<Name> {
        let idle = self.uploads.iter().filter(|(_, upload)| upload.holders == 0);
        idle.min_by_key(|(_, upload)| upload.changed).map(|(name, _)| *name)
    }

    /// Removes an upload from the table; returns its bytes.
    pub(super) fn remove(&mut self, name: &Name) -> u64 {
        let bytes = self.uploads.remove(name).map_or(0, |upload| upload.bytes);
        self.bytes = self.bytes.saturating_sub(bytes);
        bytes
    }

    fn set(&mut self, name: Name, bytes: u64) {
        self.clock += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let upload = Upload {
            bytes,
            changed: self.clock,
            slot: Slot::default(),
            holders: 0,
        };
        self.uploads.insert(name, upload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_and_the_oldest_idle_one_is_known() {
        let mut all = Unfinished::default();
        let [a, b] = [[1; 32], [2; 32]];
        for name in [a, b] {
            all.enter(name);
        }
        for (name, bytes) in [(a, 3), (b, 7), (a, 2)] {
            all.append(&name, bytes);
        }
        assert_eq!((all.bytes(), all.count(), all.oldest_idle()), (12, 2, None));
        all.leave(&a, || Some(5));
        all.leave(&b, || Some(6));
        assert_eq!(
            (all.bytes(), all.oldest_idle()),
            (11, Some(b)),
            "the other was written to later"
        );
        assert!(Arc::ptr_eq(&all.enter(b), &all.enter(b)), "two streams take turns");
        assert_eq!(all.oldest_idle(), Some(a));
        all.leave(&b, || None);
        assert_eq!(all.kept(&b), Some(6), "another stream has it");
        all.leave(&b, || None);
        assert_eq!((all.bytes(), all.count()), (5, 1));
        all.append(&a, 9);
        all.take_back(&a, 9);
        assert_eq!((all.remove(&a), all.remove(&a), all.bytes()), (5, 0, 0));
    }
}
