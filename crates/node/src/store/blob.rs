//! Content-addressed files.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use qres_fed::id::BlobId;
use qres_fed::tensor::Source;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::directory::Directory;
use super::reader::{Reader, Readers};
use super::spare::Spares;
use super::upload::Slot;
use super::usage::Usage;
use super::{BlobWriter, SegmentTree, StoreError, file};

/// A flushed blob is read-only, one that is not flushed yet has the owner's write bit: so it can be told after a power cut
/// which ones may be torn, without a record of its own.
const FLUSHED: u32 = 0o400;
const WRITE_BIT: u32 = 0o200;

/// The blob files below one directory. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    directory: Directory,
    usage: Usage,
    /// Held while a name below `blobs` comes or goes, so that the count of bytes stays right.
    names: Mutex<()>,
    readers: Readers,
    spares: Spares,
    uploads: Mutex<HashMap<[u8; 32], Slot>>,
    temporary: AtomicU64,
}

/// A blob open for reading: positioned reads, from any thread. It stays readable when the blob is removed.
#[derive(Debug)]
pub struct BlobFile {
    file: File,
    len: u64,
    _reader: Reader,
}

impl Blobs {
    /// Takes over a directory: looks through what a power cut may have torn, counts what is there.
    pub(super) fn take_over(directory: Directory, bytes_max: Option<u64>) -> Result<Self, StoreError> {
        let mut held = 0u64;
        let mut doubtful = Vec::new();
        for (id, metadata) in scan(directory.root())? {
            held = held.saturating_add(metadata.len());
            if directory.rebooted() && metadata.permissions().mode() & WRITE_BIT != 0 {
                doubtful.push(id);
            }
        }
        let pending = super::upload::recover(&directory)?.saturating_add(super::partial::recover(&directory)?);
        let mut inner = Inner {
            directory,
            usage: Usage::new(bytes_max, held, pending),
            names: Mutex::default(),
            readers: Readers::default(),
            spares: Spares::default(),
            uploads: Mutex::default(),
            temporary: AtomicU64::new(0),
        };
        inner.check(&doubtful)?;
        inner.directory.settle()?;
        Ok(Self(Arc::new(inner)))
    }

    /// Whether the blob is here, whole.
    pub fn contains(&self, id: &BlobId) -> bool {
        self.len(id).is_some()
    }

    /// Its length, if it is here.
    pub fn len(&self, id: &BlobId) -> Option<u64> {
        file::len(&self.0.path(id))
    }

    /// Opens it, if it is here.
    pub fn open(&self, id: &BlobId) -> Result<Option<BlobFile>, StoreError> {
        self.0.open(id)
    }

    /// A temporary file for a blob of about so many bytes: a guess costs room, never correctness.
    pub fn writer(&self, expected: u64) -> Result<BlobWriter, StoreError> {
        let (file, path, length) = self.temporary_file(expected)?;
        Ok(BlobWriter::temporary(self.clone(), file, path, length))
    }

    /// A small blob at once; `sync` = fsynced before it returns. One that is here already costs its hash.
    pub fn put(&self, bytes: &[u8], sync: bool) -> Result<BlobId, StoreError> {
        let tree = SegmentTree::of(bytes);
        let id = tree.root();
        if self.len(&id) == Some(tree.bytes()) {
            if sync {
                self.sync(&id)?;
            }
            return Ok(id);
        }
        self.take_room(tree.bytes())?;
        let path = self.temporary();
        let made = file::make(&path).inspect_err(|_| self.usage().give(tree.bytes()))?;
        self.with_room(|| made.write_all_at(bytes, 0))
            .and_then(|()| if sync { made.sync_all() } else { Ok(()) })
            .map_err(|error| StoreError::from_io(&path, error))
            .and_then(|()| self.adopt(&path, &tree, sync))
            .inspect_err(|_| self.abandon(&path, tree.bytes()))?;
        Ok(id)
    }

    /// Removes a blob, if it is here. Whoever has it open reads on.
    pub fn remove(&self, id: &BlobId) -> Result<(), StoreError> {
        self.0.remove(id)
    }

    /// Every blob held, with its length, ascending by id.
    pub fn list(&self) -> Result<Vec<(BlobId, u64)>, StoreError> {
        let mut all: Vec<_> = scan(self.root())?.into_iter().map(|(id, m)| (id, m.len())).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Bytes of all blobs held (a running count).
    pub fn bytes(&self) -> u64 {
        self.usage().held()
    }

    /// Reads a blob again and compares its digest: `false` removes it. `false`, too, when it is not here.
    pub fn verify(&self, id: &BlobId) -> Result<bool, StoreError> {
        self.0.verify(id)
    }

    /// Flushes a blob to the disk.
    pub fn sync(&self, id: &BlobId) -> Result<(), StoreError> {
        let path = self.0.path(id);
        let fail = |error| StoreError::from_io(&path, error);
        let open = File::open(&path).map_err(fail)?;
        if open.metadata().map_err(fail)?.permissions().mode() & WRITE_BIT != 0 {
            open.sync_all().map_err(fail)?;
            open.set_permissions(Permissions::from_mode(FLUSHED)).map_err(fail)?;
        }
        self.sync_names(&path)
    }

    /// The chaining values of a blob's segments (see [`SegmentTree`]), kept beside blobs of more than one segment; `None` when
    /// the blob is not here.
    pub fn segments(&self, id: &BlobId) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
        Ok(self.tree(id)?.map(|tree| tree.values().to_vec()))
    }

    /// The same as a tree, the blob's length included. One that is lost or torn is made anew.
    pub fn tree(&self, id: &BlobId) -> Result<Option<SegmentTree>, StoreError> {
        let Some(open) = self.0.open(id)? else { return Ok(None) };
        let kept = match SegmentTree::count_for(open.len) {
            1 => SegmentTree::from_values(open.len, vec![id.0]),
            count => read_values(&values_path(&self.0.path(id)), count)
                .and_then(|values| SegmentTree::from_values(open.len, values))
                .filter(|tree| tree.root() == *id),
        };
        if kept.is_some() {
            return Ok(kept);
        }
        let path = self.0.path(id);
        let tree = SegmentTree::build(open.file).map_err(|error| StoreError::from_io(&path, error))?;
        if tree.root() != *id {
            return Err(StoreError::Damaged(format!(
                "blob {id} has other bytes than its name says: remove {}",
                path.display()
            )));
        }
        let values = self.write_values(&tree)?;
        fs::rename(&values, values_path(&path)).map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Some(tree))
    }
}

/// For the other files of this module's parts: writers, uploads, partial blobs.
impl Blobs {
    pub(super) fn root(&self) -> &Path {
        self.0.directory.root()
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.0.usage
    }

    /// Takes room for bytes on their way in, from spare files when there is no other.
    pub(super) fn take_room(&self, bytes: u64) -> Result<(), StoreError> {
        self.usage().take(bytes)?;
        self.limit_spares();
        Ok(())
    }

    pub(super) fn spares(&self) -> &Spares {
        &self.0.spares
    }

    pub(super) fn path(&self, id: &BlobId) -> PathBuf {
        self.0.path(id)
    }

    /// A file below `tmp` for about so many bytes, and its length: of a spare one, which holds rubbish, or 0.
    pub(super) fn temporary_file(&self, expected: u64) -> Result<(File, PathBuf, u64), StoreError> {
        if let Some(spare) = self.spares().take(expected) {
            return Ok(spare);
        }
        let path = self.temporary();
        Ok((file::make(&path)?, path, 0))
    }

    /// Moves a blob's file to a name of ours, unless somebody has it open: it is no blob any more.
    pub(super) fn move_away(&self, id: &BlobId, to: &Path) -> Result<bool, StoreError> {
        let path = self.0.path(id);
        let _names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = file::len(&path);
        let moved = self.0.readers.unless_open(id, || fs::rename(&path, to));
        let (Some(moved), Some(bytes)) = (moved, bytes) else {
            return Ok(false);
        };
        moved.map_err(|error| StoreError::from_io(&path, error))?;
        self.usage().remove(bytes);
        file::remove(&values_path(&path)).map(|_| true)
    }

    pub(super) fn uploads(&self) -> &Mutex<HashMap<[u8; 32], Slot>> {
        &self.0.uploads
    }

    /// A name below `tmp` that no one else has: the directory is ours and was empty when it was opened.
    pub(super) fn temporary(&self) -> PathBuf {
        let number = self.0.temporary.fetch_add(1, Ordering::Relaxed);
        self.root().join("tmp").join(number.to_string())
    }

    /// Removes a file that will be no blob, if it is there, and gives its room back. Errors do not matter: what stays is found
    /// at the next start.
    pub(super) fn abandon(&self, path: &Path, counted: u64) {
        match file::remove(path) {
            Ok(true) => self.usage().give(counted),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot remove a file that is no longer needed"),
        }
    }

    /// Makes a whole file, counted as on its way in, a blob. `synced` = its content is flushed: the names will be, too. If the
    /// blob is here already, that one stays.
    pub(super) fn adopt(&self, from: &Path, tree: &SegmentTree, synced: bool) -> Result<(), StoreError> {
        let values = (tree.count() > 1).then(|| self.write_values(tree)).transpose()?;
        self.adopt_with(from, values.as_deref(), tree, synced)
    }

    /// The same with a file that holds the tree's values already, which is moved, too.
    pub(super) fn adopt_with(
        &self,
        from: &Path,
        values: Option<&Path>,
        tree: &SegmentTree,
        synced: bool,
    ) -> Result<(), StoreError> {
        let id = tree.root();
        let path = self.0.path(&id);
        let fail = |error| StoreError::from_io(&path, error);
        if synced {
            fs::set_permissions(from, Permissions::from_mode(FLUSHED)).map_err(fail)?;
        }
        let names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = path.parent() {
            file::make_dir(directory)?;
        }
        if let Some(values) = values {
            fs::rename(values, values_path(&path)).map_err(fail)?;
        }
        let here = file::len(&path);
        if here == Some(tree.bytes()) {
            drop(names);
            self.abandon(from, tree.bytes());
            return if synced { self.sync(&id) } else { Ok(()) };
        }
        fs::rename(from, &path).map_err(fail)?;
        self.usage().remove(here.unwrap_or(0));
        self.usage().settle(tree.bytes());
        drop(names);
        if synced { self.sync_names(&path) } else { Ok(()) }
    }

    /// Makes a blob's name durable, and that of the directory it is in: someone else may have made it and not flushed it.
    fn sync_names(&self, blob: &Path) -> Result<(), StoreError> {
        file::sync_dir_of(blob)?;
        file::sync_dir(&self.root().join("blobs"))
    }

    /// Writes a tree's values to a temporary file.
    pub(super) fn write_values(&self, tree: &SegmentTree) -> Result<PathBuf, StoreError> {
        let path = self.temporary();
        file::make(&path)?
            .write_all_at(tree.values().as_flattened(), 0)
            .map_err(|error| StoreError::from_io(&path, error))
            .inspect_err(|_| self.abandon(&path, 0))?;
        Ok(path)
    }
}

impl Inner {
    fn path(&self, id: &BlobId) -> PathBuf {
        let name = id.to_string();
        self.directory.root().join("blobs").join(&name[..2]).join(name)
    }

    fn open(&self, id: &BlobId) -> Result<Option<BlobFile>, StoreError> {
        let path = self.path(id);
        let reader = self.readers.enter(*id);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        match opened {
            Ok((len, file)) => Ok(Some(BlobFile {
                file,
                len,
                _reader: reader,
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::from_io(&path, error)),
        }
    }

    fn remove(&self, id: &BlobId) -> Result<(), StoreError> {
        let path = self.path(id);
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = file::len(&path);
        if file::remove(&path)? {
            self.usage.remove(bytes.unwrap_or(0));
        }
        file::remove(&values_path(&path)).map(|_| ())
    }

    fn verify(&self, id: &BlobId) -> Result<bool, StoreError> {
        let Some(open) = self.open(id)? else { return Ok(false) };
        let tree = SegmentTree::build(open.file).map_err(|error| StoreError::from_io(self.path(id), error))?;
        if tree.root() == *id {
            return Ok(true);
        }
        tracing::warn!(blob = %id, "a blob was damaged on the disk: removed, to be fetched again");
        self.remove(id)?;
        Ok(false)
    }

    /// After a reboot: what was not flushed before is read again, and is then as good as flushed.
    fn check(&self, doubtful: &[BlobId]) -> Result<(), StoreError> {
        for id in doubtful {
            if self.verify(id)? {
                let path = self.path(id);
                fs::set_permissions(&path, Permissions::from_mode(FLUSHED))
                    .map_err(|error| StoreError::from_io(&path, error))?;
            }
        }
        Ok(())
    }
}

/// Every blob below a data directory, in any order.
fn scan(root: &Path) -> Result<Vec<(BlobId, Metadata)>, StoreError> {
    let mut all = Vec::new();
    for first in 0..=255u8 {
        let prefix = hex::encode([first]);
        let directory = root.join("blobs").join(&prefix);
        if !directory.exists() {
            continue;
        }
        for (name, metadata) in file::files(&directory)? {
            if let (true, Ok(id)) = (name.starts_with(&prefix), name.parse()) {
                all.push((id, metadata));
            }
        }
    }
    Ok(all)
}

/// Where the chaining values of a blob's segments are.
fn values_path(blob: &Path) -> PathBuf {
    blob.with_extension("seg")
}

/// `count` values, when the file holds just so many.
pub(super) fn read_values(path: &Path, count: u64) -> Option<Vec<[u8; 32]>> {
    if file::len(path)? != count.checked_mul(32)? {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let (values, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && values.len() as u64 == count).then(|| values.to_vec())
}

impl BlobFile {
    /// So many bytes from there, in memory that nobody filled with zeros first.
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
