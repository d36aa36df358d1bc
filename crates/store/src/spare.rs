//! Files of blobs that are gone, kept to be written over.
//!
//! A new file costs a page, a disk block and the bookkeeping of both for every 4 KiB, and its removal gives them all back;
//! writing over one that the page cache still holds costs a copy. Measured with 160 MiB on ext4: 1.0 to 5.6 GB/s into a new
//! file, 7 to 12 GB/s over an old one. A round needs as many bytes of files as it leaves behind, so it pays every time.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qres_fed::id::BlobId;

use super::{BlobStore, Owner, StoreError, file};

/// Smallest spare file, in bytes: for smaller files the bookkeeping costs more than it saves.
const SPARE_BYTES_MIN: u64 = 1 << 20;

/// The spare files of one store, in any order.
#[derive(Debug, Default)]
pub(super) struct Spares {
    files: Mutex<Vec<Spare>>,
}

/// A spare file below `tmp`: the file of a blob that was removed, and that no reader has open.
/// [`Directory::open`](super::directory::Directory::open) removes it at the next start.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    bytes: u64,
    since: Instant,
}

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

    /// Makes room on a full disk: removes all spare files at the first call, then one unfinished upload a call, the
    /// oldest first. Returns `false` when there is nothing more to remove.
    pub(super) fn give_way(&self) -> bool {
        self.spares().shrink(0) || self.discard_unfinished().unwrap_or(false)
    }

    /// Does `work`. While the disk is full, makes room with [`BlobStore::give_way`] and does `work` again; returns the
    /// error when there is nothing more to remove.
    pub(super) fn with_room<T>(&self, work: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
        let full = |error: &std::io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        loop {
            match work() {
                Err(error) if full(&error) && self.give_way() => {}
                done => return done,
            }
        }
    }
}

impl Spares {
    fn keep(&self, path: PathBuf, bytes: u64) {
        let since = Instant::now();
        self.files().push(Spare { path, bytes, since });
    }

    /// Takes the spare file whose length comes closest to `wanted` bytes, open for writing, with its path and length. The
    /// file holds rubbish and may be longer or shorter than `wanted`. Returns `None` when no file is near enough.
    pub(super) fn take(&self, wanted: u64) -> Option<(File, PathBuf, u64)> {
        let spare = {
            let mut files = self.files();
            let distances = files.iter().map(|spare| spare.bytes.abs_diff(wanted)).enumerate();
            let (nearest, distance) = distances.min_by_key(|(_, distance)| *distance)?;
            // A file of more than twice the wanted length would have to be cut, and would then be missing for a blob of
            // its length.
            if distance > wanted {
                return None;
            }
            files.swap_remove(nearest)
        };
        // The mode is set again: a caller of `Blobs::sync` that had the old blob open may have marked the file as flushed
        // after `retire` set the mode.
        let opened = fs::set_permissions(&spare.path, Permissions::from_mode(0o600))
            .and_then(|()| OpenOptions::new().read(true).write(true).open(&spare.path));
        match opened {
            Ok(open) => Some((open, spare.path, spare.bytes)),
            Err(_) => {
                let _ = file::remove(&spare.path);
                None
            }
        }
    }

    /// Removes the oldest spare files until at most `bytes_max` bytes are left. Returns true if any file was removed.
    pub(super) fn shrink(&self, bytes_max: u64) -> bool {
        let mut files = self.files();
        let mut bytes: u64 = files.iter().map(|spare| spare.bytes).sum();
        if bytes <= bytes_max {
            return false;
        }
        let before = files.len();
        files.sort_by_key(|spare| spare.since);
        files.retain(|spare| {
            if bytes <= bytes_max {
                return true;
            }
            bytes -= spare.bytes;
            // A file that cannot be removed stays; the next start removes it.
            file::remove(&spare.path).is_err()
        });
        files.len() < before
    }

    /// Removes the files that have been spare for `idle` or longer.
    pub(super) fn collect(&self, idle: Duration) {
        self.files()
            .retain(|spare| spare.since.elapsed() < idle || file::remove(&spare.path).is_err());
    }

    /// Locks the list. A poisoned lock is used all the same: a panic leaves the list whole.
    fn files(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{self, Write};
    use std::os::unix::fs::MetadataExt;

    use qres_fed::tensor::Source;

    use super::super::tests::{blobs, count_files, noise};
    use super::super::{Blobs, Quota, SegmentTree, Store, StoreOptions};
    use super::*;

    const LEN: usize = 2 << 20;

    fn spares(dir: &Path, lengths: &[u64]) -> Spares {
        let spares = Spares::default();
        for (name, bytes) in lengths.iter().enumerate() {
            let path = dir.join(name.to_string());
            fs::write(&path, vec![1; *bytes as usize]).unwrap();
            spares.keep(path, *bytes);
        }
        spares
    }

    /// Makes `count` blobs of noise that differ in their first byte, and retires them.
    fn retire(blobs: &Blobs, count: u8) {
        let ids: Vec<_> = (0..count).map(|first| (Owner::Node, put(blobs, first))).collect();
        let store = blobs.store();
        let retired = store.retire(&ids).unwrap();
        assert_eq!(retired.blobs(), ids.len());
        assert!(store.spares().files().is_empty(), "not written over yet");
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
        let spare: Vec<_> = blobs
            .store()
            .spares()
            .files()
            .iter()
            .map(|spare| inode(&spare.path))
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

    #[test]
    fn the_nearest_length_is_taken_and_none_that_is_far_longer() {
        let dir = tempfile::tempdir().unwrap();
        let spares = spares(dir.path(), &[40, 20, 21]);
        assert!(spares.take(9).is_none());
        assert_eq!(spares.take(22).unwrap().2, 21);
        assert_eq!(spares.take(22).unwrap().2, 20);
        assert_eq!(spares.take(1000).unwrap().2, 40, "better than a new one");
        assert!(spares.take(1000).is_none());
    }

    #[test]
    fn the_oldest_go_first_when_room_is_needed_and_all_when_they_are_idle() {
        let dir = tempfile::tempdir().unwrap();
        let spares = spares(dir.path(), &[40, 20, 21]);
        assert!(!spares.shrink(81));
        assert!(spares.shrink(41));
        assert!(!dir.path().join("0").exists());
        spares.collect(Duration::from_secs(3600));
        assert!(dir.path().join("1").exists());
        spares.collect(Duration::ZERO);
        assert_eq!(count_files(dir.path()), 0);
        assert!(spares.take(20).is_none());
    }

    #[test]
    fn one_that_has_vanished_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let spares = spares(dir.path(), &[20]);
        fs::remove_file(dir.path().join("0")).unwrap();
        assert!(spares.take(20).is_none());
    }
}
