//! Content-addressed files.

use std::path::PathBuf;
use std::time::Duration;

use qres_fed::id::BlobId;
use qres_fed::tensor::Source;

use super::partial::Partial;
use super::{SegmentTree, StoreError};

/// The blob files below one directory. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    _root: PathBuf,
}

/// A blob open for reading: positioned reads, from any thread.
pub struct BlobFile {}

/// A blob on its way in: hashes while it writes. Dropped without `finish` it leaves nothing, unless it is an upload with a
/// key, whose bytes stay to be resumed.
pub struct BlobWriter {}

#[allow(unused_variables, missing_docs)]
impl Blobs {
    pub fn contains(&self, id: &BlobId) -> bool {
        todo!()
    }
    pub fn len(&self, id: &BlobId) -> Option<u64> {
        todo!()
    }
    pub fn open(&self, id: &BlobId) -> Result<Option<BlobFile>, StoreError> {
        todo!()
    }
    /// A new temporary file.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        todo!()
    }
    /// A small blob at once; `sync` = fsynced before it returns.
    pub fn put(&self, bytes: &[u8], sync: bool) -> Result<BlobId, StoreError> {
        todo!()
    }
    /// A resumable upload under a caller's key, from `offset` (at most what is kept; what lies beyond it is cut off).
    pub fn resume(&self, key: &str, offset: u64) -> Result<BlobWriter, StoreError> {
        todo!()
    }
    /// Bytes kept of a resumable upload.
    pub fn kept(&self, key: &str) -> u64 {
        todo!()
    }
    /// Removes what is kept of an upload.
    pub fn discard(&self, key: &str) -> Result<(), StoreError> {
        todo!()
    }
    /// Removes uploads that nobody touched for so long; returns how many.
    pub fn collect_uploads(&self, idle: Duration) -> Result<usize, StoreError> {
        todo!()
    }
    pub fn remove(&self, id: &BlobId) -> Result<(), StoreError> {
        todo!()
    }
    /// Every blob held, with its length.
    pub fn list(&self) -> Result<Vec<(BlobId, u64)>, StoreError> {
        todo!()
    }
    /// Bytes of all blobs held (a running count).
    pub fn bytes(&self) -> u64 {
        todo!()
    }
    /// Reads a blob again and compares its digest: `false` removes it.
    pub fn verify(&self, id: &BlobId) -> Result<bool, StoreError> {
        todo!()
    }
    /// Flushes a blob to the disk.
    pub fn sync(&self, id: &BlobId) -> Result<(), StoreError> {
        todo!()
    }
    /// The chaining values of a blob's segments (see `segment`), kept beside blobs of more than one segment.
    pub fn segments(&self, id: &BlobId) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
        todo!()
    }
    /// The same as a tree, the blob's length included; `None` when the blob is not here.
    pub fn tree(&self, id: &BlobId) -> Result<Option<SegmentTree>, StoreError> {
        todo!()
    }
    /// A blob that arrives in segments, in any order; goes on where an earlier one (before a restart, too) stopped. `tree` must
    /// be the blob's: its root is compared with `id`.
    pub fn partial(&self, id: BlobId, tree: SegmentTree) -> Result<Partial, StoreError> {
        todo!()
    }
    /// Removes partial blobs that nobody wrote to for so long; returns how many.
    pub fn collect_partials(&self, idle: Duration) -> Result<usize, StoreError> {
        todo!()
    }
}

#[allow(unused_variables, missing_docs)]
impl BlobWriter {
    /// Bytes written so far (kept ones included).
    pub fn written(&self) -> u64 {
        todo!()
    }
    /// Hashes done, file renamed into place; `sync` = file and directory fsynced before it returns.
    pub fn finish(self, sync: bool) -> Result<(BlobId, u64), StoreError> {
        todo!()
    }
    /// Leaves nothing behind, whatever it was.
    pub fn abort(self) {
        todo!()
    }
}

impl std::io::Write for BlobWriter {
    fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Source for BlobFile {
    fn len(&self) -> u64 {
        todo!()
    }
    fn read_at(&self, _offset: u64, _into: &mut [u8]) -> std::io::Result<()> {
        todo!()
    }
}
