//! Files of blobs that are gone, kept to be written over.
//!
//! A new file costs a page, a disk block and the bookkeeping of both for every 4 KiB, and its removal gives them all back;
//! writing over one that the page cache still holds costs a copy. Measured with 160 MiB on ext4: 1.0 to 5.6 GB/s into a new
//! file, 7 to 12 GB/s over an old one. A round needs as many bytes of files as it leaves behind, so it pays every time.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{clock, file};

/// Smallest spare file, in bytes: for smaller files the bookkeeping costs more than it saves.
pub(super) const SPARE_BYTES_MIN: u64 = 1 << 20;

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

impl Spares {
    pub(super) fn keep(&self, path: PathBuf, bytes: u64) {
        let since = clock::now();
        self.files.lock().push(Spare { path, bytes, since });
    }

    /// Takes the spare file whose length comes closest to `wanted` bytes, open for writing, with its path and length. The
    /// file holds rubbish and may be longer or shorter than `wanted`. Returns `None` when no file is near enough.
    pub(super) fn take(&self, wanted: u64) -> Option<(File, PathBuf, u64)> {
        let spare = {
            let mut files = self.files.lock();
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
        let mut files = self.files.lock();
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
        self.files
            .lock()
            .retain(|spare| clock::now() - spare.since < idle || file::remove(&spare.path).is_err());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::count_files;
    use super::*;

    fn spares(dir: &Path, lengths: &[u64]) -> Spares {
        let spares = Spares::default();
        for (name, bytes) in lengths.iter().enumerate() {
            let path = dir.join(name.to_string());
            fs::write(&path, vec![1; *bytes as usize]).unwrap();
            spares.keep(path, *bytes);
        }
        spares
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
