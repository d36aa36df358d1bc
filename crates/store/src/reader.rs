//! The count of readers of each open blob.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use qres_fed::id::BlobId;

/// Counts the readers of each blob of a store: a file is written over only when no reader has it open. Counts by the
/// blob's id alone, not by owner, because owners share files.
#[derive(Debug, Clone, Default)]
pub(super) struct Readers(Arc<Mutex<HashMap<BlobId, usize>>>);

/// A reader of a blob; the blob counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    readers: Readers,
    blob: BlobId,
}

impl Readers {
    /// Counts one more reader. The caller does this before it opens the file: code that takes the file away first checks
    /// the count, then renames the file.
    pub(super) fn enter(&self, blob: BlobId) -> Reader {
        *self.0.lock().entry(blob).or_default() += 1;
        Reader {
            readers: self.clone(),
            blob,
        }
    }

    /// Runs `work` if no reader has the blob open; no reader can be added meanwhile. Returns `None` when the blob is
    /// open.
    pub(super) fn unless_open<T>(&self, blob: &BlobId, work: impl FnOnce() -> T) -> Option<T> {
        let counts = self.0.lock();
        (!counts.contains_key(blob)).then(work)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut counts = self.readers.0.lock();
        match counts.get_mut(&self.blob) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = counts.remove(&self.blob),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_open_until_its_last_reader_is_gone() {
        let (readers, blob) = (Readers::default(), BlobId([7; 32]));
        let (first, second) = (readers.enter(blob), readers.enter(blob));
        drop(first);
        assert!(readers.unless_open(&blob, || ()).is_none());
        assert!(readers.unless_open(&BlobId([8; 32]), || ()).is_some());
        drop(second);
        assert!(readers.unless_open(&blob, || ()).is_some());
        assert!(readers.0.lock().is_empty());
    }
}
