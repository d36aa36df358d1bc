//! The blobs of one owner: content-addressed files.

#[cfg(test)]
mod tests;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use qres_fed::id::BlobId;
use qres_fed::tensor::Source;

use super::blob_file::{BlobFile, FLUSHED, WRITE_BIT, bytes_of_its_own, read_values, values_path};
use super::{BlobStore, Owner, SegmentTree, StoreError, file};

/// The blobs of one [`Owner`]. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    store: BlobStore,
    owner: Owner,
}

impl BlobStore {
    /// Returns the blobs of one owner.
    pub fn of(&self, owner: Owner) -> Blobs {
        Blobs {
            store: self.clone(),
            owner,
        }
    }
}

impl Blobs {
    /// Returns the owner of these blobs.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns true if the whole blob is here.
    pub fn contains(&self, id: &BlobId) -> bool {
        self.len(id).is_some()
    }

    /// Returns the length of a blob in bytes; `None` when the blob is not here.
    pub fn len(&self, id: &BlobId) -> Option<u64> {
        file::len(&self.path(id))
    }

    /// Opens a blob for reading; `None` when the blob is not here.
    pub fn open(&self, id: &BlobId) -> Result<Option<BlobFile>, StoreError> {
        let path = self.path(id);
        let reader = self.store.readers().enter(*id);
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

    /// Returns all bytes of a small blob; `None` when the blob is not here or cannot be read.
    pub fn read(&self, id: &BlobId) -> Option<Vec<u8>> {
        let file = self.open(id).ok()??;
        file.read_vec(0, usize::try_from(file.len()).ok()?).ok()
    }

    /// Stores a small blob in one call; `sync` = fsynced before the call returns. A blob that is here already costs only
    /// its hash. Fails with [`StoreError::Full`] when there is no room.
    pub fn put(&self, bytes: &[u8], sync: bool) -> Result<BlobId, StoreError> {
        let tree = SegmentTree::of(bytes);
        let id = tree.root();
        if self.len(&id) == Some(tree.bytes()) {
            if sync {
                self.sync(&id)?;
            }
            return Ok(id);
        }
        let store = &self.store;
        store.take_room(tree.bytes())?;
        let path = store.temporary();
        let made = file::make(&path).inspect_err(|_| store.usage().give(tree.bytes()))?;
        store
            .with_room(|| made.write_all_at(bytes, 0))
            .and_then(|()| if sync { made.sync_all() } else { Ok(()) })
            .map_err(|error| StoreError::from_io(&path, error))
            .and_then(|()| self.adopt(&path, &tree, sync))
            .inspect_err(|_| store.abandon(&path, tree.bytes()))?;
        Ok(id)
    }

    /// Removes a blob, if it is here. A [`BlobFile`] that is open reads on.
    pub fn remove(&self, id: &BlobId) -> Result<(), StoreError> {
        let path = self.path(id);
        let _names = self.store.names();
        let bytes = bytes_of_its_own(&path);
        if file::remove(&path)? {
            self.store.usage().remove(bytes);
        }
        file::remove(&values_path(&path)).map(|_| ())
    }

    /// Reads a whole blob again and compares its digest with `id`. Returns `false` when the digest differs, and removes
    /// the blob then; returns `false`, too, when the blob is not here.
    pub fn verify(&self, id: &BlobId) -> Result<bool, StoreError> {
        let Some(open) = self.open(id)? else { return Ok(false) };
        let tree = SegmentTree::build(open.file).map_err(|error| StoreError::from_io(self.path(id), error))?;
        if tree.root() == *id {
            return Ok(true);
        }
        tracing::warn!(blob = %id, "a blob was damaged on the disk: removed, to be fetched again");
        self.remove(id)?;
        Ok(false)
    }

    /// Flushes a blob to the disk.
    pub fn sync(&self, id: &BlobId) -> Result<(), StoreError> {
        let path = self.path(id);
        let fail = |error| StoreError::from_io(&path, error);
        let open = File::open(&path).map_err(fail)?;
        if open.metadata().map_err(fail)?.permissions().mode() & WRITE_BIT != 0 {
            open.sync_all().map_err(fail)?;
            open.set_permissions(Permissions::from_mode(FLUSHED)).map_err(fail)?;
        }
        self.store.sync_names(&path)
    }

    /// Gives another owner the same blob, flushed, without a copy of its bytes. Returns `false` when the blob is not
    /// here. The caller must have checked the right to do so: every peer that may read the blobs of `to` may then read
    /// this one.
    pub fn share(&self, id: &BlobId, to: Owner) -> Result<bool, StoreError> {
        let (from, other) = (self.path(id), self.store.of(to));
        if !self.contains(id) || other.contains(id) {
            return Ok(other.contains(id));
        }
        self.sync(id)?;
        let path = other.path(id);
        let names = self.store.names();
        file::make_dir_of(&path)?;
        match fs::hard_link(&from, &path) {
            Ok(()) => {}
            // Another writer of the same bytes was faster.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::from_io(&path, error)),
        }
        drop(names);
        self.store.sync_names(&path)?;
        Ok(true)
    }

    /// Returns the chaining values of a blob's segments (see [`SegmentTree`]), which are kept beside a blob of more than
    /// one segment; `None` when the blob is not here.
    pub fn segments(&self, id: &BlobId) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
        Ok(self.tree(id)?.map(|tree| tree.values().to_vec()))
    }

    /// Returns the [`SegmentTree`] of a blob, which has the blob's length, too; `None` when the blob is not here. Builds
    /// a kept list of values again if it is lost or torn. Fails with [`StoreError::Damaged`] when the blob's bytes do not
    /// match `id`.
    pub fn tree(&self, id: &BlobId) -> Result<Option<SegmentTree>, StoreError> {
        let Some(open) = self.open(id)? else { return Ok(None) };
        let kept = match SegmentTree::count_for(open.len) {
            1 => SegmentTree::from_values(open.len, vec![id.0]),
            count => read_values(&values_path(&self.path(id)), count)
                .and_then(|values| SegmentTree::from_values(open.len, values))
                .filter(|tree| tree.root() == *id),
        };
        if kept.is_some() {
            return Ok(kept);
        }
        let path = self.path(id);
        let tree = SegmentTree::build(open.file).map_err(|error| StoreError::from_io(&path, error))?;
        if tree.root() != *id {
            return Err(StoreError::Damaged(format!(
                "blob {id} has other bytes than its name says: remove {}",
                path.display()
            )));
        }
        let values = self.store.write_values(&tree)?;
        fs::rename(&values, values_path(&path)).map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Some(tree))
    }
}

/// Methods for the other files of this crate: writers, uploads, partial blobs.
impl Blobs {
    pub(super) fn store(&self) -> &BlobStore {
        &self.store
    }

    pub(super) fn path(&self, id: &BlobId) -> PathBuf {
        self.store.path(self.owner, id)
    }

    /// Moves a blob's file to the path `to`, so that it is no blob any more. Returns `false`, and moves nothing, when a
    /// reader has the blob open, another owner shares the file or there is no such file.
    pub(super) fn move_away(&self, id: &BlobId, to: &Path) -> Result<bool, StoreError> {
        let path = self.path(id);
        let _names = self.store.names();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            return Ok(false);
        };
        let alone = metadata.is_file() && metadata.nlink() == 1;
        let rename = || alone.then(|| fs::rename(&path, to));
        let Some(moved) = self.store.readers().unless_open(id, rename).flatten() else {
            return Ok(false);
        };
        moved.map_err(|error| StoreError::from_io(&path, error))?;
        self.store.usage().remove(metadata.len());
        file::remove(&values_path(&path)).map(|_| true)
    }

    /// Turns the whole file `from`, whose bytes are counted as on their way in, into a blob. `synced` = the content is
    /// flushed; the names are then flushed, too. If the blob is here already, that file stays and `from` is removed.
    pub(super) fn adopt(&self, from: &Path, tree: &SegmentTree, synced: bool) -> Result<(), StoreError> {
        let values = (tree.count() > 1).then(|| self.store.write_values(tree)).transpose()?;
        self.adopt_with(from, values.as_deref(), tree, synced)
    }

    /// Does the same as [`Blobs::adopt`] with a file that holds the tree's values already; moves that file, too.
    pub(super) fn adopt_with(
        &self,
        from: &Path,
        values: Option<&Path>,
        tree: &SegmentTree,
        synced: bool,
    ) -> Result<(), StoreError> {
        let id = tree.root();
        let path = self.path(&id);
        let fail = |error| StoreError::from_io(&path, error);
        if synced {
            fs::set_permissions(from, Permissions::from_mode(FLUSHED)).map_err(fail)?;
        }
        let (store, names) = (&self.store, self.store.names());
        file::make_dir_of(&path)?;
        if let Some(values) = values {
            fs::rename(values, values_path(&path)).map_err(fail)?;
        }
        if file::len(&path) == Some(tree.bytes()) {
            drop(names);
            store.abandon(from, tree.bytes());
            return if synced { self.sync(&id) } else { Ok(()) };
        }
        let torn = bytes_of_its_own(&path);
        fs::rename(from, &path).map_err(fail)?;
        store.usage().remove(torn);
        store.usage().settle(tree.bytes());
        drop(names);
        if synced { store.sync_names(&path) } else { Ok(()) }
    }
}
