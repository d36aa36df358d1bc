//! Uploads under a caller's key: the bytes that were sent stay, and a later stream goes on from there.

use std::sync::Arc;
use std::time::Duration;

use super::hold::Hold;
use super::unfinished::{Name, UPLOADS_KEPT_MAX, Unfinished};
use super::{BlobStore, BlobWriter, DiskUse, Owner, StoreError, file};

impl BlobStore {
    /// Opens a resumable upload under a caller's key and goes on from `offset` bytes. `offset` is at most the number of
    /// bytes kept ([`StoreError::Offset`]); kept bytes beyond it are cut off. A stream that still writes under this key
    /// is overtaken: its next write fails with [`StoreError::Overtaken`].
    pub fn resume(&self, key: &str, offset: u64) -> Result<BlobWriter, StoreError> {
        let name = name(key);
        self.make_place(&name)?;
        let lease = self.lease(name);
        let path = self.upload_path(name);
        let fail = |error| StoreError::from_io(&path, error);
        let mut turn = lease.slot.lock();
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
            self.uploads().lock().take_back(&name, kept - offset);
        }
        drop(turn);
        let hold = Hold {
            lease: Arc::new(lease),
            number,
        };
        BlobWriter::resumed(self.of(Owner::Node), open, path.clone(), hold, offset)
    }

    /// Returns the number of bytes kept of a resumable upload; 0 when there is none.
    pub fn kept(&self, key: &str) -> u64 {
        file::len(&self.upload_path(name(key))).unwrap_or(0)
    }

    /// Removes the kept bytes of an upload; a stream that still writes to it is overtaken.
    pub fn discard(&self, key: &str) -> Result<(), StoreError> {
        self.discard_if(name(key), |_| true).map(|_| ())
    }

    /// Removes the uploads that were not written to for `idle` or longer, and returns their number. Also measures the
    /// disk again.
    pub fn collect_uploads(&self, idle: Duration) -> Result<usize, StoreError> {
        self.measure_disk();
        let names = self.uploads().lock().names();
        let mut discarded = names
            .into_iter()
            .map(|name| self.discard_if(name, |metadata| file::is_idle(metadata, idle)));
        discarded.try_fold(0, |collected, discarded| Ok(collected + usize::from(discarded?)))
    }

    /// Refuses with [`StoreError::UploadQuota`] an upload that could never be finished: one of more bytes than all
    /// unfinished uploads together may take.
    pub fn check_upload(&self, bytes: u64) -> Result<(), StoreError> {
        let limit = self.usage().uploads_limit();
        if bytes <= limit {
            return Ok(());
        }
        Err(StoreError::UploadQuota {
            asked: bytes,
            kept: 0,
            limit,
        })
    }

    /// Returns the bytes of disk that blobs take and may take.
    pub fn disk_use(&self) -> DiskUse {
        let uploads = self.uploads().lock().bytes();
        self.usage().view(uploads)
    }

    /// Returns the number of unfinished uploads with a key that are kept.
    pub fn uploads_kept(&self) -> usize {
        self.uploads().lock().count()
    }

    /// Measures the disk again: what other programs take and free there.
    pub fn measure_disk(&self) {
        self.usage().measure();
    }

    /// Takes room for an append of `bytes` bytes. To make place, discards unfinished uploads that no stream writes to,
    /// the oldest first. Fails with [`StoreError::UploadQuota`] when that is not enough.
    pub(super) fn take_upload_room(&self, hold: &Hold, bytes: u64) -> Result<(), StoreError> {
        let limit = self.usage().uploads_limit();
        loop {
            let mut uploads = self.uploads().lock();
            let kept = uploads.bytes();
            if kept.saturating_add(bytes) <= limit {
                uploads.append(&hold.lease.name, bytes);
                break;
            }
            let own = uploads.kept(&hold.lease.name).unwrap_or(0);
            if own.saturating_add(bytes) > limit || !self.discard_oldest(&mut uploads)? {
                return Err(StoreError::UploadQuota {
                    asked: bytes,
                    kept,
                    limit,
                });
            }
        }
        self.take_room(bytes)
            .inspect_err(|_| self.uploads().lock().take_back(&hold.lease.name, bytes))
    }

    /// Takes room for `bytes` bytes. When there is no free room, gives up spare files (only on a full disk), then the
    /// oldest unfinished uploads.
    pub(super) fn take_or_make_room(&self, bytes: u64) -> Result<(), StoreError> {
        loop {
            let Err(refused) = self.usage().take(bytes) else {
                return Ok(());
            };
            if !self.usage().could_take(bytes) {
                return Err(refused);
            }
            let spared = self.usage().is_disk_full() && self.spares().shrink(0);
            if !spared && !self.discard_unfinished()? {
                return Err(refused);
            }
            self.measure_disk();
        }
    }

    /// Discards the oldest upload that no stream writes to. Returns true if there was one.
    pub(super) fn discard_unfinished(&self) -> Result<bool, StoreError> {
        self.discard_oldest(&mut self.uploads().lock())
    }

    /// Discards the oldest upload that no stream holds. The caller keeps the table locked, so no stream can take the
    /// upload meanwhile.
    fn discard_oldest(&self, uploads: &mut Unfinished) -> Result<bool, StoreError> {
        let Some(oldest) = uploads.oldest_idle() else {
            return Ok(false);
        };
        file::remove(&self.upload_path(oldest))?;
        let bytes = uploads.remove(&oldest);
        self.usage().give(bytes);
        tracing::info!(bytes, "the oldest unfinished upload was discarded: the room was needed");
        Ok(true)
    }

    /// Makes a place for one more upload, unless the upload is in the table already. Fails with
    /// [`StoreError::UploadsKept`] when streams hold all [`UPLOADS_KEPT_MAX`] uploads.
    fn make_place(&self, name: &Name) -> Result<(), StoreError> {
        let mut uploads = self.uploads().lock();
        while uploads.count() >= UPLOADS_KEPT_MAX && uploads.kept(name).is_none() {
            if !self.discard_oldest(&mut uploads)? {
                return Err(StoreError::UploadsKept(UPLOADS_KEPT_MAX));
            }
        }
        Ok(())
    }

    fn discard_if(&self, name: Name, which: impl FnOnce(&std::fs::Metadata) -> bool) -> Result<bool, StoreError> {
        let lease = self.lease(name);
        let path = self.upload_path(name);
        let mut turn = lease.slot.lock();
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
}

/// Turns a key, a text of any length, into a file name of fixed length: its BLAKE3.
fn name(key: &str) -> Name {
    *blake3::hash(key.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::time::SystemTime;

    use qres_fed::id::BlobId;

    use super::super::tests::{blobs, noise};
    use super::super::{Quota, Store, StoreOptions};
    use super::*;

    #[test]
    fn an_upload_goes_on_after_a_drop_and_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = noise(6_000_000);
        let first = blobs(dir.path()).store().clone();
        let mut writer = first.resume("a key/with any letters", 0).unwrap();
        writer.write_all(&bytes[..5_000_000]).unwrap();
        drop((writer, first));
        let second = blobs(dir.path()).store().clone();
        assert_eq!(second.kept("a key/with any letters"), 5_000_000);
        assert_eq!(second.kept("another"), 0);
        let mut writer = second.resume("a key/with any letters", 4_999_999).unwrap();
        writer.write_all(&bytes[4_999_999..]).unwrap();
        assert_eq!(writer.finish(true).unwrap().0, BlobId::of(&bytes));
    }

    #[test]
    fn an_offset_past_what_is_kept_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path()).store().clone();
        let mut writer = blobs.resume("key", 0).unwrap();
        writer.write_all(b"abc").unwrap();
        let refused = blobs.resume("key", 4).err().unwrap();
        assert!(matches!(refused, StoreError::Offset { given: 4, kept: 3 }), "{refused}");
        writer.write_all(b"def").unwrap();
        assert_eq!(writer.finish(false).unwrap().0, BlobId::of(b"abcdef"));
        assert!(blobs.resume("new", 1).is_err());
        assert_eq!(blobs.kept("new"), 0);
    }

    #[test]
    fn a_second_stream_overtakes_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path()).store().clone();
        let mut first = blobs.resume("key", 0).unwrap();
        first.write_all(b"abcdef").unwrap();
        let mut second = blobs.resume("key", 3).unwrap();
        let error = StoreError::from_io("", first.write_all(b"XXX").unwrap_err());
        assert!(matches!(error, StoreError::Overtaken), "{error}");
        second.write_all(b"ghi").unwrap();
        assert!(matches!(first.finish(true), Err(StoreError::Overtaken)));
        assert_eq!(second.finish(true).unwrap().0, BlobId::of(b"abcghi"));
        let mut third = blobs.resume("key", 0).unwrap();
        third.write_all(b"jk").unwrap();
        blobs.resume("key", 2).unwrap().abort();
        drop(third);
        assert_eq!(blobs.kept("key"), 0);
        assert_eq!(blobs.uploads().lock().count(), 0, "no slot stays behind");
    }

    #[test]
    fn what_is_discarded_or_idle_goes() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path()).store().clone();
        for key in ["old", "young", "unwanted"] {
            blobs.resume(key, 0).unwrap().write_all(b"abc").unwrap();
        }
        blobs.discard("unwanted").unwrap();
        blobs.discard("never there").unwrap();
        let hour = Duration::from_secs(3600);
        let old = std::fs::File::open(blobs.upload_path(name("old"))).unwrap();
        let long_ago = SystemTime::UNIX_EPOCH;
        old.set_modified(long_ago).unwrap();
        assert_eq!(blobs.collect_uploads(hour).unwrap(), 1);
        assert_eq!(
            (blobs.kept("old"), blobs.kept("young"), blobs.kept("unwanted")),
            (0, 3, 0)
        );
    }

    fn with_quota(dir: &Path, bytes: u64) -> BlobStore {
        let options = StoreOptions {
            blob_bytes_max: Quota::Bytes(bytes),
        };
        Store::open(dir, options).unwrap().blobs().clone()
    }

    /// Leaves `bytes` more bytes of an unfinished upload behind; returns the error of a refused write.
    fn leave(blobs: &BlobStore, key: &str, bytes: usize) -> Result<(), StoreError> {
        let mut writer = blobs.resume(key, blobs.kept(key))?;
        writer
            .write_all(&vec![7; bytes])
            .map_err(|error| StoreError::from_io("", error))
    }

    #[test]
    fn the_oldest_that_nobody_writes_to_makes_room_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        // Unfinished uploads get a quarter of the limit: 100 bytes.
        let first = with_quota(dir.path(), 400);
        for key in ["a", "b", "c"] {
            leave(&first, key, 30).unwrap();
        }
        // Upload a is written to once more: now it is the youngest.
        leave(&first, "a", 10).unwrap();
        assert_eq!(first.disk_use().uploads, 100);
        let mut writer = first.resume("b", 30).unwrap();
        leave(&first, "d", 1).unwrap();
        let kept = |blobs: &BlobStore| ["a", "b", "c", "d"].map(|key| blobs.kept(key));
        assert_eq!(
            kept(&first),
            [40, 30, 0, 1],
            "b is older than c, and somebody writes to it"
        );
        let refused = leave(&first, "large", 101).unwrap_err();
        assert!(
            matches!(refused, StoreError::UploadQuota { limit: 100, .. }),
            "{refused}"
        );
        assert_eq!(kept(&first), [40, 30, 0, 1], "what could never fit takes nobody's room");
        writer.write_all(&[7; 29]).unwrap();
        leave(&first, "e", 70).unwrap_err();
        drop(writer);
        let bytes = first.disk_use();
        assert_eq!((bytes.uploads, bytes.pending), (59, 59), "{bytes:?}");
        drop(first);
        let second = with_quota(dir.path(), 400);
        assert_eq!((second.disk_use().uploads, second.kept("b")), (59, 59));
        leave(&second, "f", 100).unwrap();
        assert_eq!((second.kept("b"), second.disk_use().pending), (0, 100));
        second.check_upload(100).unwrap();
        second.check_upload(101).unwrap_err();
    }

    #[test]
    fn an_upload_begun_anew_gives_its_room_back() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = with_quota(dir.path(), 400);
        leave(&blobs, "a", 60).unwrap();
        let mut writer = blobs.resume("a", 0).unwrap();
        writer.write_all(&[7; 90]).unwrap();
        drop(writer);
        assert_eq!((blobs.kept("a"), blobs.disk_use().uploads), (90, 90));
    }

    #[test]
    fn unfinished_uploads_make_room_for_what_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = with_quota(dir.path(), 400);
        for key in ["a", "b", "c"] {
            leave(&blobs, key, 30).unwrap();
        }
        blobs.of(Owner::Node).put(&[1; 311], false).unwrap();
        assert_eq!(["a", "b", "c"].map(|key| blobs.kept(key)), [0, 30, 30]);
        blobs.of(Owner::Node).put(&[2; 400], false).unwrap_err();
        assert_eq!(blobs.kept("b"), 30, "no room would have been enough");
        blobs.of(Owner::Node).put(&[2; 89], false).unwrap();
        assert_eq!((blobs.bytes(), blobs.disk_use().pending), (400, 0));
    }

    #[test]
    fn so_many_uploads_are_kept_and_one_more_takes_the_place_of_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = with_quota(dir.path(), 1 << 20);
        let count = || blobs.uploads().lock().count();
        for number in 0..=UPLOADS_KEPT_MAX {
            leave(&blobs, &number.to_string(), 1).unwrap();
        }
        assert_eq!((count(), blobs.kept("0"), blobs.kept("1")), (UPLOADS_KEPT_MAX, 0, 1));
        // All uploads are held by streams, so one more is refused.
        let held: Vec<_> = (1..=UPLOADS_KEPT_MAX)
            .map(|number| blobs.lease(name(&number.to_string())))
            .collect();
        let refused = blobs.resume("0", 0).err().unwrap();
        assert!(matches!(refused, StoreError::UploadsKept(_)), "{refused}");
        blobs.resume("7", 1).unwrap();
        drop(held);
        blobs.resume("0", 0).unwrap();
    }

    #[test]
    fn nothing_is_kept_over_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let first = blobs(dir.path()).store().clone();
        first.resume("key", 0).unwrap().write_all(b"abc").unwrap();
        drop(first);
        std::fs::write(dir.path().join("boot"), "another\n").unwrap();
        assert_eq!(blobs(dir.path()).store().kept("key"), 0);
    }
}
