//! A blob that is written from front to back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use qres_fed::id::BlobId;

use super::hold::Hold;
use super::segment::{SEGMENT_LEN, SegmentTreeBuilder};
use super::{Blobs, Owner, StoreError, file};

/// Bytes that are buffered and hashed together: all the memory that a writer takes. A caller that writes whole segments,
/// as most uploads do, has them hashed and written without a copy.
pub(super) const BUFFER_LEN: usize = SEGMENT_LEN;

/// A blob on its way in, which is hashed while it is written. When a writer is dropped without [`BlobWriter::finish`],
/// its file is removed. Only an upload with a key keeps its bytes, to be resumed.
///
/// An error of `write` wraps a [`StoreError`], which [`StoreError::from_io`] unwraps.
pub struct BlobWriter {
    blobs: Blobs,
    file: File,
    path: PathBuf,
    /// The right to write to an upload; `None` when the blob is no upload with a key.
    hold: Option<Hold>,
    tree: SegmentTreeBuilder,
    /// Bytes that come after the bytes in the tree.
    buffer: Vec<u8>,
    /// Number of the buffer's bytes that are in the file already.
    filed: usize,
    /// Bytes in the file, counted as on their way in. Always the sum of the tree's bytes and of the filed bytes of the
    /// buffer.
    disk: u64,
    /// Length of the file in bytes, which is more than `disk` when the file was a spare one.
    length: u64,
    /// True if `finish` will flush the file, so that the disk may begin to write it.
    flushed: bool,
    done: bool,
}

impl Blobs {
    /// Starts to write a blob of about `expected` bytes. A wrong guess costs room, never correctness.
    pub fn writer(&self, expected: u64) -> Result<BlobWriter, StoreError> {
        let (file, path, length) = self.store().temporary_file(expected)?;
        Ok(BlobWriter::temporary(self.clone(), file, path, length))
    }
}

impl BlobWriter {
    /// Starts a blob that is written over a temporary file of `length` bytes.
    fn temporary(blobs: Blobs, file: File, path: PathBuf, length: u64) -> Self {
        Self {
            blobs,
            file,
            path,
            hold: None,
            tree: SegmentTreeBuilder::default(),
            buffer: Vec::new(),
            filed: 0,
            disk: 0,
            length,
            flushed: false,
            done: false,
        }
    }

    /// Goes on with an upload's file, whose `kept` bytes are counted already: reads and hashes them.
    pub(super) fn resumed(blobs: Blobs, file: File, path: PathBuf, hold: Hold, kept: u64) -> Result<Self, StoreError> {
        let mut writer = Self::temporary(blobs, file, path, kept);
        writer.hold = Some(hold);
        writer.disk = kept;
        let mut position = 0;
        while position < kept {
            let len = (kept - position).min(BUFFER_LEN as u64) as usize;
            writer.buffer.resize(len, 0);
            writer
                .file
                .read_exact_at(&mut writer.buffer, position)
                .map_err(|error| StoreError::from_io(&writer.path, error))?;
            writer.filed = len;
            writer.hash_full();
            position += len as u64;
        }
        Ok(writer)
    }

    /// Announces that [`BlobWriter::finish`] will flush the blob: the disk then begins to write while the rest is still
    /// on its way.
    pub fn to_be_flushed(mut self) -> Self {
        self.flushed = true;
        self
    }

    /// Returns the number of bytes written so far (kept ones of an upload included).
    pub fn written(&self) -> u64 {
        self.tree.bytes() + self.buffer.len() as u64
    }

    /// Completes the hash and moves the file into place; returns the blob's id and its length in bytes. `sync` = file and
    /// directory are fsynced before the call returns. Fails with [`StoreError::Overtaken`] when another stream goes on
    /// with the upload.
    pub fn finish(self, sync: bool) -> Result<(BlobId, u64), StoreError> {
        let owner = self.blobs.owner();
        self.finish_for(sync, |_| owner)
    }

    /// Does the same as [`BlobWriter::finish`] for an owner that follows from the blob's id, as a new model's spec does.
    pub fn finish_for(mut self, sync: bool, owner: impl FnOnce(&BlobId) -> Owner) -> Result<(BlobId, u64), StoreError> {
        let hold = self.hold.clone();
        let _turn = hold.as_ref().map(Hold::turn).transpose()?;
        self.file_rest()?;
        if self.length > self.disk {
            self.file
                .set_len(self.disk)
                .map_err(|error| StoreError::from_io(&self.path, error))?;
        }
        if sync && let Err(error) = self.file.sync_all() {
            // The kernel may now take lost pages for written ones: no byte of this file can be trusted.
            self.blobs.store().abandon(&self.path, self.disk);
            self.done = true;
            return Err(StoreError::from_io(&self.path, error));
        }
        self.tree.push(&self.buffer);
        self.buffer.clear();
        self.filed = 0;
        let tree = std::mem::take(&mut self.tree).finish();
        let blobs = self.blobs.store().of(owner(&tree.root()));
        let adopted = blobs.adopt(&self.path, &tree, sync);
        if adopted.is_ok() || !self.path.exists() {
            self.done = true;
        }
        adopted.map(|()| (tree.root(), tree.bytes()))
    }

    /// Removes the file, also that of an upload with a key, unless another stream goes on with the upload.
    pub fn abort(mut self) {
        let hold = self.hold.clone();
        let turn = hold.as_ref().map(Hold::turn).transpose();
        if turn.is_ok() {
            self.blobs.store().abandon(&self.path, self.disk);
        }
        self.done = true;
    }

    /// Writes the rest of the buffer to the file.
    fn file_rest(&mut self) -> Result<(), StoreError> {
        self.disk += self.append(&self.buffer[self.filed..])?;
        self.filed = self.buffer.len();
        Ok(())
    }

    /// Writes bytes at the file's end and returns their number. Takes room for them first.
    fn append(&self, bytes: &[u8]) -> Result<u64, StoreError> {
        let more = bytes.len() as u64;
        if more == 0 {
            return Ok(0);
        }
        let store = self.blobs.store();
        match &self.hold {
            Some(hold) => store.take_upload_room(hold, more)?,
            None => store.take_room(more)?,
        }
        if let Err(error) = store.with_room(|| self.file.write_all_at(bytes, self.disk)) {
            store.usage().give(more);
            // Bytes that did get written are cut off, so that an upload keeps only bytes that are counted.
            let _ = self.file.set_len(self.disk);
            return Err(StoreError::from_io(&self.path, error));
        }
        if self.flushed {
            file::start_writeback(&self.file, self.disk, more);
        }
        Ok(more)
    }

    /// Hashes the buffer and empties it, when it is full.
    fn hash_full(&mut self) {
        if self.buffer.len() == BUFFER_LEN {
            self.tree.push(&self.buffer);
            self.buffer.clear();
            self.filed = 0;
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<usize, StoreError> {
        let hold = self.hold.clone();
        let turn = hold.as_ref().map(Hold::turn);
        if let (true, Some(segment)) = (self.buffer.is_empty(), bytes.get(..SEGMENT_LEN)) {
            let _turn = turn.transpose()?;
            self.disk += self.append(segment)?;
            self.tree.push(segment);
            return Ok(segment.len());
        }
        let before = self.buffer.len();
        let part = &bytes[..bytes.len().min(BUFFER_LEN - before)];
        self.buffer.extend_from_slice(part);
        // An upload is written to the file at once: the bytes that a caller sent survive a crash.
        if (self.hold.is_some() || self.buffer.len() == BUFFER_LEN)
            && let Err(error) = turn.transpose().and_then(|_turn| self.file_rest())
        {
            self.buffer.truncate(before);
            return Err(error);
        }
        self.hash_full();
        Ok(part.len())
    }
}

impl io::Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take_in(bytes).map_err(StoreError::into_io)
    }

    /// Does nothing: [`BlobWriter::finish`] flushes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.done && self.hold.is_none() {
            self.blobs.store().abandon(&self.path, self.disk);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::tests::{blobs, count_files, noise};
    use super::*;

    fn store(blobs: &Blobs, bytes: &[u8], step: usize) -> (BlobId, u64) {
        let mut writer = blobs.writer(bytes.len() as u64).unwrap().to_be_flushed();
        for part in bytes.chunks(step) {
            writer.write_all(part).unwrap();
        }
        assert_eq!(writer.written(), bytes.len() as u64);
        writer.finish(false).unwrap()
    }

    #[test]
    fn a_written_blob_has_the_plain_digest_at_every_boundary() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let all = noise(2 * BUFFER_LEN + 7);
        for len in [
            0,
            1,
            1023,
            1025,
            SEGMENT_LEN - 1,
            SEGMENT_LEN,
            SEGMENT_LEN + 1,
            BUFFER_LEN,
            BUFFER_LEN + 1,
        ] {
            let bytes = &all[..len];
            let (id, stored) = store(&blobs, bytes, 100_003);
            assert_eq!((id, stored), (BlobId::of(bytes), len as u64));
            assert_eq!(blobs.len(&id), Some(len as u64));
            let tree = blobs.tree(&id).unwrap().unwrap();
            assert_eq!(tree.root(), id, "{len} bytes");
            assert!(blobs.verify(&id).unwrap());
        }
        let (id, _) = store(&blobs, &all, usize::MAX);
        assert_eq!(id, BlobId::of(&all));
        assert_eq!(count_files(&dir.path().join("tmp")), 0);
    }

    #[test]
    fn a_blob_s_owner_may_follow_from_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut writer = blobs.writer(0).unwrap();
        writer.write_all(b"abc").unwrap();
        let of = |id: &BlobId| Owner::Model(qres_fed::id::SpecId(id.0));
        let (id, _) = writer.finish_for(true, of).unwrap();
        assert!(!blobs.contains(&id) && blobs.store().of(of(&id)).contains(&id));
    }

    #[test]
    fn a_dropped_or_aborted_writer_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let bytes = noise(BUFFER_LEN + 1);
        let mut dropped = blobs.writer(0).unwrap();
        dropped.write_all(&bytes).unwrap();
        drop(dropped);
        let mut aborted = blobs.writer(0).unwrap();
        aborted.write_all(&bytes).unwrap();
        aborted.abort();
        assert_eq!(count_files(&dir.path().join("tmp")), 0);
        assert_eq!((blobs.store().bytes(), blobs.store().list().unwrap()), (0, vec![]));
    }

    #[test]
    fn any_steps_and_a_break_give_the_same_blob() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let all = noise(2 * BUFFER_LEN);
        let config = ProptestConfig::with_cases(16);
        proptest!(config, |(len in 0..2 * BUFFER_LEN, step in 10_000..2 * SEGMENT_LEN, cut in 0.0..1.0f64)| {
            let bytes = &all[..len];
            let id = BlobId::of(bytes);
            prop_assert_eq!(store(&blobs, bytes, step).0, id);
            // Some of the later blobs are written over this blob's file.
            let store = blobs.store();
            store.keep_spare(store.retire(&[(Owner::Node, id)]).unwrap()).unwrap();
            let (kept, again) = ((len as f64 * cut) as usize, (len as f64 * cut * cut) as usize);
            let mut first = blobs.store().resume("key", 0).unwrap();
            first.write_all(&bytes[..kept]).unwrap();
            drop(first);
            prop_assert_eq!(blobs.store().kept("key"), kept as u64);
            let mut second = blobs.store().resume("key", again as u64).unwrap();
            prop_assert_eq!(second.written(), again as u64);
            for part in bytes[again..].chunks(step) {
                second.write_all(part).unwrap();
            }
            prop_assert_eq!(second.finish(false).unwrap(), (id, len as u64));
            prop_assert_eq!((blobs.store().kept("key"), blobs.store().bytes()), (0, len as u64));
            blobs.remove(&id).unwrap();
        });
    }
}
