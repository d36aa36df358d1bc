//! The file of a blob: its path, its mode, the list of values beside it, and reads by position.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use qres_fed::id::BlobId;
use qres_fed::tensor::Source;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::reader::Reader;
use super::{Owner, file};

/// Mode of a flushed blob: read-only. A blob that is not flushed yet has [`WRITE_BIT`]. So after a power cut the modes
/// tell which blobs may be torn, without a record of their own.
pub(super) const FLUSHED: u32 = 0o400;
pub(super) const WRITE_BIT: u32 = 0o200;

/// A blob open for positioned reads, from any thread. The bytes stay readable when the blob is removed.
#[derive(Debug)]
pub struct BlobFile {
    pub(super) file: File,
    pub(super) len: u64,
    pub(super) _reader: Reader,
}

impl BlobFile {
    /// Reads `length` bytes from `offset`, into memory that was not filled with zeros first. Fails with `UnexpectedEof`
    /// when the blob ends before.
    pub fn read_vec(&self, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset.saturating_add(bytes.len() as u64);
            match rustix::io::pread(&self.file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The allocator may have given more than was asked for.
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl Source for BlobFile {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// Returns the path of a blob, relative to the data directory.
pub(super) fn path_of(owner: Owner, id: &BlobId) -> PathBuf {
    Path::new("blobs").join(owner.to_string()).join(id.to_string())
}

/// Returns the bytes that the disk gets back when this name goes: 0 while another owner shares the file.
pub(super) fn bytes_of_its_own(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.nlink() == 1 => metadata.len(),
        _ => 0,
    }
}

/// Returns the path of the chaining values of a blob's segments.
pub(super) fn values_path(blob: &Path) -> PathBuf {
    blob.with_extension("seg")
}

/// Reads `count` values of 32 bytes; `None` when the file does not have just that length.
pub(super) fn read_values(path: &Path, count: u64) -> Option<Vec<[u8; 32]>> {
    if file::len(path)? != count.checked_mul(32)? {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let (values, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && values.len() as u64 == count).then(|| values.to_vec())
}
