//! All blobs below one data directory.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use qres_fed::id::BlobId;

use super::blob_file::{FLUSHED, WRITE_BIT, path_of, values_path};
use super::directory::Directory;
use super::reader::Readers;
use super::spare::Spares;
use super::unfinished::Unfinished;
use super::usage::Usage;
use super::{Owner, Quota, SegmentTree, StoreError, file, partial_file};

/// The blob files below one data directory, each with its [`Owner`]. Cheap to clone.
#[derive(Clone)]
pub struct BlobStore(Arc<Inner>);

struct Inner {
    directory: Directory,
    usage: Usage,
    /// Held while a name below `blobs` comes or goes, so that the count of bytes stays right.
    names: Mutex<()>,
    readers: Readers,
    spares: Spares,
    uploads: Mutex<Unfinished>,
    temporary: AtomicU64,
}

impl BlobStore {
    /// Takes over a data directory: checks the blobs that a power cut may have torn, and counts the bytes of all.
    pub(super) fn take_over(mut directory: Directory, quota: Quota) -> Result<Self, StoreError> {
        let mut held = 0u64;
        let mut shared = HashSet::new();
        for (owner, id, metadata) in scan(directory.root())? {
            if metadata.nlink() > 1 && !shared.insert(metadata.ino()) {
                // This is another owner's name for a file that was looked at already.
                continue;
            }
            let flushed = metadata.permissions().mode() & WRITE_BIT == 0;
            if flushed || !directory.rebooted() || is_whole(&directory.root().join(path_of(owner, &id)), &id)? {
                held = held.saturating_add(metadata.len());
            }
        }
        let uploads = Unfinished::recover(&directory)?;
        let pending = uploads.bytes().saturating_add(partial_file::recover(&directory)?);
        let usage = Usage::new(directory.root(), directory.reserve(), quota, held, pending);
        directory.settle()?;
        Ok(Self(Arc::new(Inner {
            directory,
            usage,
            names: Mutex::default(),
            readers: Readers::default(),
            spares: Spares::default(),
            uploads: Mutex::new(uploads),
            temporary: AtomicU64::new(0),
        })))
    }

    /// Lists every blob held, ascending: its owner, its id, its length in bytes.
    pub fn list(&self) -> Result<Vec<(Owner, BlobId, u64)>, StoreError> {
        let found = scan(self.root())?.into_iter();
        let mut all: Vec<_> = found.map(|(owner, id, m)| (owner, id, m.len())).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Removes the directories of owners that have no blob any more.
    pub fn remove_empty(&self) {
        let blobs = self.root().join("blobs");
        let _names = self.names();
        for name in file::directories(&blobs).unwrap_or_default() {
            // `remove_dir` fails on a directory that is not empty; such a directory stays.
            let _ = fs::remove_dir(blobs.join(name));
        }
    }

    /// Returns the bytes of all blobs held (a running count). A blob that two owners share counts once.
    pub fn bytes(&self) -> u64 {
        self.usage().held()
    }
}

/// Methods for the other files of this crate: blobs, writers, uploads, partial blobs.
impl BlobStore {
    pub(super) fn root(&self) -> &Path {
        self.0.directory.root()
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.0.usage
    }

    /// Takes room for `bytes` bytes on their way in, from spare files and unfinished uploads when there is no other.
    /// Fails with [`StoreError::Full`].
    pub(super) fn take_room(&self, bytes: u64) -> Result<(), StoreError> {
        self.take_or_make_room(bytes)?;
        self.limit_spares();
        Ok(())
    }

    pub(super) fn spares(&self) -> &Spares {
        &self.0.spares
    }

    pub(super) fn readers(&self) -> &Readers {
        &self.0.readers
    }

    pub(super) fn uploads(&self) -> &Mutex<Unfinished> {
        &self.0.uploads
    }

    /// Locks the names below `blobs`. Held while a name there comes or goes.
    pub(super) fn names(&self) -> MutexGuard<'_, ()> {
        self.0.names.lock()
    }

    /// Returns the path of an owner's blob.
    pub(super) fn path(&self, owner: Owner, id: &BlobId) -> PathBuf {
        self.root().join(path_of(owner, id))
    }

    /// Opens a file below `tmp` for about `expected` bytes; returns the file, its path and its length. The file is a
    /// spare one, which holds rubbish, or a new one of length 0.
    pub(super) fn temporary_file(&self, expected: u64) -> Result<(File, PathBuf, u64), StoreError> {
        if let Some(spare) = self.spares().take(expected) {
            return Ok(spare);
        }
        let path = self.temporary();
        Ok((file::make(&path)?, path, 0))
    }

    /// Returns a path below `tmp` that no other file has: only this process writes there, and [`Directory::open`] emptied
    /// `tmp`.
    pub(super) fn temporary(&self) -> PathBuf {
        let number = self.0.temporary.fetch_add(1, Ordering::Relaxed);
        self.root().join("tmp").join(number.to_string())
    }

    /// Removes a file that will be no blob, if it is there, and gives back its `counted` bytes of room. Errors do not
    /// matter: a file that stays is found at the next start.
    pub(super) fn abandon(&self, path: &Path, counted: u64) {
        match file::remove(path) {
            Ok(true) => self.usage().give(counted),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot remove a file that is no longer needed"),
        }
    }

    /// Makes a blob's name durable, and the name of the directory that it is in: another writer may have made that
    /// directory and not flushed it yet.
    pub(super) fn sync_names(&self, blob: &Path) -> Result<(), StoreError> {
        file::sync_dir_of(blob)?;
        file::sync_dir(&self.root().join("blobs"))
    }

    /// Writes a tree's values to a temporary file and returns its path.
    pub(super) fn write_values(&self, tree: &SegmentTree) -> Result<PathBuf, StoreError> {
        let path = self.temporary();
        file::make(&path)?
            .write_all_at(tree.values().as_flattened(), 0)
            .map_err(|error| StoreError::from_io(&path, error))
            .inspect_err(|_| self.abandon(&path, 0))?;
        Ok(path)
    }
}

/// Returns true if a file that was never flushed has the blob's bytes after a power cut, and marks it as flushed then.
/// Else removes the file.
fn is_whole(path: &Path, id: &BlobId) -> Result<bool, StoreError> {
    let fail = |error| StoreError::from_io(path, error);
    let tree = File::open(path).and_then(SegmentTree::build).map_err(fail)?;
    if tree.root() == *id {
        fs::set_permissions(path, Permissions::from_mode(FLUSHED)).map_err(fail)?;
        return Ok(true);
    }
    tracing::warn!(blob = %id, "a power cut damaged a blob: removed, to be fetched again");
    file::remove(path)?;
    file::remove(&values_path(path))?;
    Ok(false)
}

/// Lists every blob below a data directory, in any order.
fn scan(root: &Path) -> Result<Vec<(Owner, BlobId, Metadata)>, StoreError> {
    let blobs = root.join("blobs");
    let mut all = Vec::new();
    for name in file::directories(&blobs)? {
        let Some(owner) = Owner::from_name(&name) else { continue };
        for (file, metadata) in file::files(&blobs.join(&name))? {
            if let Ok(id) = file.parse() {
                all.push((owner, id, metadata));
            }
        }
    }
    Ok(all)
}
