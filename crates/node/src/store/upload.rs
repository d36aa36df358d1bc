//! Uploads under a caller's key: what was sent stays, and a later stream goes on from there.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::directory::Directory;
use super::{BlobStore, BlobWriter, Owner, StoreError, file};

/// Who may write to an upload: the stream of the latest turn. Held while its file changes.
pub(super) type Slot = Arc<Mutex<u64>>;

/// One stream's right to write to an upload, until another stream takes over.
#[derive(Clone)]
pub(super) struct Hold {
    /// Keeps the slot known while a stream holds it.
    lease: Arc<Lease>,
    number: u64,
}

struct Lease {
    store: BlobStore,
    name: [u8; 32],
    slot: Slot,
}

impl Hold {
    /// The upload's file is this stream's while the answer lives.
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
        let mut uploads = lock(self.store.uploads());
        // The table's and ours: nobody else holds it, and nobody gets it while the table is locked.
        if Arc::strong_count(&self.slot) == 2 {
            uploads.remove(&self.name);
        }
    }
}

/// Poison tells of a panic elsewhere; a number and a table of slots are whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what is kept at the start. After a reboot nothing is: bytes that were never flushed may be anything.
pub(super) fn recover(directory: &Directory) -> Result<u64, StoreError> {
    let uploads = directory.root().join("uploads");
    let mut bytes = 0u64;
    for (name, metadata) in file::files(&uploads)? {
        if directory.rebooted() {
            file::remove(&uploads.join(name))?;
        } else {
            bytes = bytes.saturating_add(metadata.len());
        }
    }
    Ok(bytes)
}

impl BlobStore {
    /// A resumable upload under a caller's key, from `offset` (at most what is kept; what lies beyond it is cut off). A stream
    /// that still writes under this key is overtaken: its next write fails.
    pub fn resume(&self, key: &str, offset: u64) -> Result<BlobWriter, StoreError> {
        let name = name(key);
        let lease = self.lease(name);
        let path = self.upload_path(name);
        let fail = |error| StoreError::from_io(&path, error);
        let mut turn = lock(&lease.slot);
        let kept = file::len(&path).unwrap_or(0);
        if offset > kept {
            return Err(StoreError::Offset { given: offset, kept });
        }
        let open = file::open_or_make(&path)?;
        *turn += 1;
        let number = *turn;
        if offset < kept {
            open.set_len(offset).map_err(fail)?;
            self.usage().give(kept - offset);
        }
        drop(turn);
        let hold = Hold {
            lease: Arc::new(lease),
            number,
        };
        BlobWriter::resumed(self.of(Owner::Node), open, path.clone(), hold, offset)
    }

    /// Bytes kept of a resumable upload.
    pub fn kept(&self, key: &str) -> u64 {
        file::len(&self.upload_path(name(key))).unwrap_or(0)
    }

    /// Removes what is kept of an upload; a stream that still writes to it is overtaken.
    pub fn discard(&self, key: &str) -> Result<(), StoreError> {
        self.discard_if(name(key), |_| true).map(|_| ())
    }

    /// Removes uploads that nobody touched for so long; returns how many.
    pub fn collect_uploads(&self, idle: Duration) -> Result<usize, StoreError> {
        let mut collected = 0;
        for (text, _) in file::files(&self.root().join("uploads"))? {
            let mut name = [0; 32];
            if hex::decode_to_slice(&text, &mut name).is_ok()
                && self.discard_if(name, |metadata| is_idle(metadata, idle))?
            {
                collected += 1;
            }
        }
        Ok(collected)
    }

    fn discard_if(&self, name: [u8; 32], which: impl FnOnce(&std::fs::Metadata) -> bool) -> Result<bool, StoreError> {
        let lease = self.lease(name);
        let path = self.upload_path(name);
        let mut turn = lock(&lease.slot);
        match std::fs::metadata(&path) {
            Ok(metadata) if which(&metadata) => {
                *turn += 1;
                let removed = file::remove(&path)?;
                self.usage().give(metadata.len());
                Ok(removed)
            }
            _ => Ok(false),
        }
    }

    fn lease(&self, name: [u8; 32]) -> Lease {
        let slot = lock(self.uploads()).entry(name).or_default().clone();
        Lease {
            store: self.clone(),
            name,
            slot,
        }
    }

    fn upload_path(&self, name: [u8; 32]) -> PathBuf {
        self.root().join("uploads").join(hex::encode(name))
    }
}

/// A key as a file name: any text, always as long.
fn name(key: &str) -> [u8; 32] {
    *blake3::hash(key.as_bytes()).as_bytes()
}

/// Whether a file was last written longer ago than that. A time to come (the clock was set back) is not idle.
pub(super) fn is_idle(metadata: &std::fs::Metadata, idle: Duration) -> bool {
    metadata
        .modified()
        .ok()
        .and_then(|at| at.elapsed().ok())
        .is_some_and(|age| age >= idle)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::SystemTime;

    use qres_fed::id::BlobId;

    use super::super::tests::{blobs, noise};
    use super::*;

    #[test]
    fn an_upload_goes_on_after_a_drop_and_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = noise(6_000_000);
        let first = blobs(dir.path());
        let mut writer = first.store().resume("a key/with any letters", 0).unwrap();
        writer.write_all(&bytes[..5_000_000]).unwrap();
        drop((writer, first));
        let second = blobs(dir.path());
        assert_eq!(second.store().kept("a key/with any letters"), 5_000_000);
        assert_eq!(second.store().kept("another"), 0);
        let mut writer = second.store().resume("a key/with any letters", 4_999_999).unwrap();
        writer.write_all(&bytes[4_999_999..]).unwrap();
        assert_eq!(writer.finish(true).unwrap().0, BlobId::of(&bytes));
    }

    #[test]
    fn an_offset_past_what_is_kept_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut writer = blobs.store().resume("key", 0).unwrap();
        writer.write_all(b"abc").unwrap();
        let refused = blobs.store().resume("key", 4).err().unwrap();
        assert!(matches!(refused, StoreError::Offset { given: 4, kept: 3 }), "{refused}");
        writer.write_all(b"def").unwrap();
        assert_eq!(writer.finish(false).unwrap().0, BlobId::of(b"abcdef"));
        assert!(blobs.store().resume("new", 1).is_err());
        assert_eq!(blobs.store().kept("new"), 0);
    }

    #[test]
    fn a_second_stream_overtakes_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut first = blobs.store().resume("key", 0).unwrap();
        first.write_all(b"abcdef").unwrap();
        let mut second = blobs.store().resume("key", 3).unwrap();
        let error = StoreError::from_io("", first.write_all(b"XXX").unwrap_err());
        assert!(matches!(error, StoreError::Overtaken), "{error}");
        second.write_all(b"ghi").unwrap();
        assert!(matches!(first.finish(true), Err(StoreError::Overtaken)));
        assert_eq!(second.finish(true).unwrap().0, BlobId::of(b"abcghi"));
        let mut third = blobs.store().resume("key", 0).unwrap();
        third.write_all(b"jk").unwrap();
        blobs.store().resume("key", 2).unwrap().abort();
        drop(third);
        assert_eq!(blobs.store().kept("key"), 0);
        assert!(lock(blobs.store().uploads()).is_empty(), "no slot stays behind");
    }

    #[test]
    fn what_is_discarded_or_idle_goes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        for key in ["old", "young", "unwanted"] {
            blobs.store().resume(key, 0).unwrap().write_all(b"abc").unwrap();
        }
        blobs.store().discard("unwanted").unwrap();
        blobs.store().discard("never there").unwrap();
        let hour = Duration::from_secs(3600);
        let old = std::fs::File::open(blobs.store().upload_path(name("old"))).unwrap();
        old.set_modified(SystemTime::now() - 2 * hour).unwrap();
        assert_eq!(blobs.store().collect_uploads(hour).unwrap(), 1);
        assert_eq!(
            (
                blobs.store().kept("old"),
                blobs.store().kept("young"),
                blobs.store().kept("unwanted")
            ),
            (0, 3, 0)
        );
    }

    #[test]
    fn nothing_is_kept_over_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let first = blobs(dir.path());
        first.store().resume("key", 0).unwrap().write_all(b"abc").unwrap();
        drop(first);
        std::fs::write(dir.path().join("boot"), "another\n").unwrap();
        assert_eq!(blobs(dir.path()).store().kept("key"), 0);
    }
}
