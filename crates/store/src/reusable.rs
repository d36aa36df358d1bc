//! Files of removed blobs that may become spare files.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qres_fed::id::BlobId;

use super::spare::SPARE_BYTES_MIN;
use super::{BlobStore, Owner, StoreError, file};

/// Blobs that were removed, and those of their files that may become spare files ([`BlobStore::keep_spare`]).
#[must_use = "the files stay in `tmp`, counted by nobody, until they are kept as spare"]
pub struct ReusableFiles {
    blobs: usize,
    files: Vec<(PathBuf, u64)>,
    /// The directories that the files were moved out of; they are flushed before a file is written over.
    left: BTreeSet<PathBuf>,
}

impl ReusableFiles {
    /// Returns the number of blobs that were removed.
    pub fn blobs(&self) -> usize {
        self.blobs
    }
}

impl BlobStore {
    /// Removes those of the blobs that are here; the caller knows that nothing refers to them. Moves their files into
    /// `tmp` when no reader has them open, no other owner shares them and they are long enough to be spare files.
    pub fn retire(&self, ids: &[(Owner, BlobId)]) -> Result<ReusableFiles, StoreError> {
        let mut retired = ReusableFiles {
            blobs: 0,
            files: vec![],
            left: BTreeSet::new(),
        };
        for (owner, id) in ids {
            let blobs = self.of(*owner);
            let Some(bytes) = blobs.len(id) else { continue };
            retired.blobs += 1;
            let to = self.temporary();
            if bytes < SPARE_BYTES_MIN || !blobs.move_away(id, &to)? {
                blobs.remove(id)?;
                continue;
            }
            // A new blob in this file is not flushed: the owner's write bit says so.
            fs::set_permissions(&to, Permissions::from_mode(0o600)).map_err(|error| StoreError::from_io(&to, error))?;
            retired.left.extend(blobs.path(id).parent().map(Path::to_owned));
            retired.files.push((to, bytes));
        }
        Ok(retired)
    }

    /// Makes spare files of the moved files, as far as there is room. Flushes directories, so a caller that must not wait
    /// for the disk runs this in the background.
    pub fn keep_spare(&self, retired: ReusableFiles) -> Result<(), StoreError> {
        let ReusableFiles { files, mut left, .. } = retired;
        if files.is_empty() {
            return Ok(());
        }
        // The files may be written over only when the move is durable: else a power cut could bring an old name back,
        // with other bytes and marked as flushed.
        left.insert(self.root().join("tmp"));
        if let Err(error) = left.iter().try_for_each(|directory| file::sync_dir(directory)) {
            files.iter().for_each(|(path, _)| self.abandon(path, 0));
            return Err(error);
        }
        for (path, bytes) in files {
            self.spares().keep(path, bytes);
        }
        self.limit_spares();
        Ok(())
    }

    /// Removes spare files until they take at most as many bytes as the blobs do, and at most the bytes that the limit
    /// still leaves to blobs.
    pub(super) fn limit_spares(&self) {
        self.spares().shrink(self.usage().held().min(self.usage().room()));
    }

    /// Removes the files that have been spare for `idle` or longer.
    pub fn collect_spares(&self, idle: Duration) {
        self.spares().collect(idle);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{self, ErrorKind, Write};
    use std::os::unix::fs::MetadataExt;

    use qres_fed::tensor::Source;

    use super::super::tests::{blobs, count_files, noise};
    use super::super::{Blobs, Quota, SegmentTree, Store, StoreOptions};
    use super::*;

    const LEN: usize = 2 << 20;

    /// Makes `count` blobs of noise that differ in their first byte, and retires them.
    fn retire(blobs: &Blobs, count: u8) {
        let ids: Vec<_> = (0..count).map(|first| (Owner::Node, put(blobs, first))).collect();
        let store = blobs.store();
        let retired = store.retire(&ids).unwrap();
        assert_eq!(retired.blobs(), ids.len());
        assert!(store.spares().take(LEN as u64).is_none(), "not written over yet");
        store.keep_spare(retired).unwrap();
        assert_eq!(store.retire(&ids).unwrap().blobs(), 0);
    }

    fn put(blobs: &Blobs, first: u8) -> BlobId {
        let mut bytes = noise(LEN);
        bytes[0] = first;
        blobs.put(&bytes, true).unwrap()
    }

    fn write(blobs: &Blobs, bytes: &[u8]) -> BlobId {
        let mut writer = blobs.writer(bytes.len() as u64).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish(false).unwrap().0
    }

    fn read(blobs: &Blobs, id: &BlobId) -> Vec<u8> {
        let open = blobs.open(id).unwrap().unwrap();
        open.read_vec(0, open.len() as usize).unwrap()
    }

    #[test]
    fn a_blob_in_a_spare_file_is_as_long_as_it_is_and_counts_as_not_flushed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        // Spare files take no more than blobs do.
        put(&blobs, 9);
        put(&blobs, 8);
        retire(&blobs, 4);
        assert_eq!(count_files(&dir.path().join("tmp")), 2);
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let spare: Vec<_> = fs::read_dir(dir.path().join("tmp"))
            .unwrap()
            .map(|spare| inode(&spare.unwrap().path()))
            .collect();
        for bytes in [noise(LEN / 2 + 1), noise(LEN + 1)] {
            let id = write(&blobs, &bytes);
            assert_eq!(id, BlobId::of(&bytes));
            assert_eq!(read(&blobs, &id), bytes);
            assert!(spare.contains(&inode(&blobs.path(&id))), "written over");
            let mode = fs::metadata(blobs.path(&id)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(count_files(&dir.path().join("tmp")), 0);
        assert_eq!(blobs.store().bytes(), (2 * LEN + LEN / 2 + 1 + LEN + 1) as u64);
    }

    #[test]
    fn whoever_reads_a_retired_blob_reads_on() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let (kept, id) = (put(&blobs, 9), put(&blobs, 0));
        let open = blobs.open(&id).unwrap().unwrap();
        let store = blobs.store();
        store.keep_spare(store.retire(&[(Owner::Node, id)]).unwrap()).unwrap();
        assert_eq!(count_files(&dir.path().join("tmp")), 0, "in use: removed, not spare");
        write(&blobs, &vec![7; LEN]);
        assert_eq!(open.read_vec(1, LEN - 1).unwrap(), noise(LEN)[1..]);
        assert!(blobs.contains(&kept) && blobs.open(&id).unwrap().is_none());
        assert!(open.read_vec(1, LEN).is_err(), "past the end");
    }

    #[test]
    fn a_blob_in_segments_writes_over_a_spare_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        put(&blobs, 9);
        retire(&blobs, 1);
        let bytes = noise(LEN + 5);
        let tree = SegmentTree::of(&bytes);
        let partial = blobs.partial(tree.root(), tree.clone()).unwrap();
        assert_eq!(count_files(&dir.path().join("tmp")), 0);
        assert_eq!(partial.missing(), [0, 1, 2], "what the file holds is none of it");
        for (index, segment) in (0..).zip(bytes.chunks(1 << 20)) {
            assert!(partial.write(index, segment).unwrap());
        }
        partial.finish(false).unwrap();
        assert_eq!(read(&blobs, &tree.root()), bytes);
    }

    #[test]
    fn spare_files_give_way_to_blobs_and_to_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let blob_bytes_max = Quota::Bytes(4 * LEN as u64);
        let store = Store::open(dir.path(), StoreOptions { blob_bytes_max }).unwrap();
        let blobs = &store.blobs_of(Owner::Node);
        put(blobs, 9);
        put(blobs, 8);
        retire(blobs, 2);
        assert_eq!(count_files(&dir.path().join("tmp")), 2);
        let small = vec![1; LEN / 4];
        blobs.put(&small, false).unwrap();
        assert_eq!(count_files(&dir.path().join("tmp")), 1);
        let tries = Cell::new(0);
        let full_once = || {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                Err(io::Error::from(ErrorKind::StorageFull))
            } else {
                Ok(())
            }
        };
        store.blobs().with_room(full_once).unwrap();
        assert_eq!((tries.get(), count_files(&dir.path().join("tmp"))), (2, 0));
        tries.set(0);
        store.blobs().with_room(full_once).unwrap_err();
        assert_eq!(tries.get(), 1, "nothing more to give");
    }
}
