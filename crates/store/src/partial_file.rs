//! The files of a partial blob: their names, and the count of their bytes at the start.

use std::path::{Path, PathBuf};

use qres_fed::id::BlobId;

use super::directory::Directory;
use super::{Owner, StoreError, file};

/// Paths of the three files of a partial blob.
pub(super) struct Paths {
    pub(super) data: PathBuf,
    pub(super) tree: PathBuf,
    pub(super) hint: PathBuf,
}

impl Paths {
    /// Returns the paths for one owner. Owners never share the files, because the segments that are here tell as much as
    /// the blob.
    pub(super) fn new(root: &Path, owner: Owner, id: &BlobId) -> Self {
        let data = root.join("partial").join(format!("{owner}-{id}"));
        Self {
            tree: data.with_extension("tree"),
            hint: data.with_extension("hint"),
            data,
        }
    }

    pub(super) fn remove(&self) -> Result<(), StoreError> {
        for path in [&self.data, &self.tree, &self.hint] {
            file::remove(path)?;
        }
        Ok(())
    }
}

/// Parses the name of a data file into the owner and the id of the blob; `None` for any other name.
pub(super) fn key(name: &str) -> Option<(Owner, BlobId)> {
    let (owner, id) = name.split_once('-')?;
    Some((Owner::from_name(owner)?, id.parse().ok()?))
}

/// Counts the bytes of partial blobs at the start, and removes files that a crash left half made or half removed.
pub(super) fn recover(directory: &Directory) -> Result<u64, StoreError> {
    let partial = directory.root().join("partial");
    let mut bytes = 0u64;
    for (name, metadata) in file::files(&partial)? {
        match name.split_once('.') {
            None if key(&name).is_some() => bytes = bytes.saturating_add(metadata.len()),
            Some((stem, _)) if partial.join(stem).exists() => {}
            _ => _ = file::remove(&partial.join(name))?,
        }
    }
    Ok(bytes)
}
