//! Who has which blob open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qres_fed::id::BlobId;

/// Counts a store's open blobs: a file is written over only when nobody reads it any more. By the blob alone, whoever the owner is:
/// owners share files.
#[derive(Debug, Clone, Default)]
pub(super) struct Readers(Arc<Mutex<HashMap<BlobId, usize>>>);

/// A blob counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    readers: Readers,
    blob: BlobId,
}

impl Readers {
    /// Counts one more. Before the file is opened: whoever takes it away looks first, then renames it.
    pub(super) fn enter(&self, blob: BlobId) -> Reader {
        *self.counts().entry(blob).or_default() += 1;
        Reader {
            readers: self.clone(),
            blob,
        }
    }

    /// Runs `work` if nobody has the blob open; nobody comes to it meanwhile.
    pub(super) fn unless_open<T>(&self, blob: &BlobId, work: impl FnOnce() -> T) -> Option<T> {
        let counts = self.counts();
        (!counts.contains_key(blob)).then(work)
    }

    /// Plain numbers: whoever panicked left them whole.
    fn counts(&self) -> MutexGuard<'_, HashMap<BlobId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut counts = self.readers.counts();
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
        assert!(readers.counts().is_empty());
    }
}
