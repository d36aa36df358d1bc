//! Room that is kept for a full disk, so that what frees space can be written down.
//!
//! Leaving a model is a transaction, and redb needs new pages for one. A file holds the room for them; when a transaction that
//! frees something finds the disk full, the file is removed and the transaction tried again. Until the file is back no blob is
//! taken in: else uploads would take the room at once.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::statvfs;

use super::{StoreError, file};

/// Thousands of redb's pages (4 KiB): leaving a model with 10,000 records rewrites some hundred.
pub(super) const RESERVE_BYTES: u64 = 8 << 20;
/// More than the reserve must be free before it is made again, so that it does not come and go.
const SLACK_BYTES: u64 = 1 << 20;
/// Where it is, below the data directory.
pub(super) const RESERVE_FILE: &str = "reserve";

/// The reserve of one data directory.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// Whether the file is there, whole.
    held: Mutex<bool>,
}

impl Reserve {
    /// Finds it, or makes it if there is room.
    pub(super) fn open(root: &Path) -> Self {
        let path = root.join(RESERVE_FILE);
        // Blocks of 512 bytes, whatever the file system's: a torn one has a hole, or fewer.
        let held = std::fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_file() && found.blocks() * 512 >= RESERVE_BYTES);
        let reserve = Self {
            path,
            held: Mutex::new(held),
        };
        if !reserve.restore() {
            tracing::warn!(
                path = %reserve.path.display(),
                bytes = RESERVE_BYTES,
                "no room for the reserve: the disk is nearly full, and new weights are refused until there is"
            );
        }
        reserve
    }

    /// Whether it is there.
    pub(super) fn is_held(&self) -> bool {
        *self.held()
    }

    /// Gives the room away; `true` when there was some.
    pub(super) fn give_up(&self) -> bool {
        let mut held = self.held();
        if !*held || file::remove(&self.path).is_err() {
            return false;
        }
        tracing::warn!(
            "the disk is full: its reserve is used to free space, and new weights are refused until there is room"
        );
        *held = false;
        true
    }

    /// Makes it again when there is room; whether it is there.
    pub(super) fn restore(&self) -> bool {
        let mut held = self.held();
        if *held {
            return true;
        }
        let root = self.path.parent().unwrap_or(&self.path);
        if free_bytes(root).is_some_and(|free| free < RESERVE_BYTES + SLACK_BYTES) {
            return false;
        }
        match make(&self.path) {
            Ok(()) => *held = true,
            Err(error) => {
                tracing::warn!(%error, "the reserve cannot be made");
                let _ = file::remove(&self.path);
            }
        }
        *held
    }

    /// A flag is whole at any time, whoever panicked.
    fn held(&self) -> MutexGuard<'_, bool> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a user without privileges may still write on a directory's disk; `None` when the system does not say.
pub(super) fn free_bytes(directory: &Path) -> Option<u64> {
    let found = statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn make(path: &Path) -> Result<(), StoreError> {
    file::remove(path)?;
    let made = file::make(path)?;
    allocate(&made).map_err(|error| StoreError::from_io(path, error))
}

/// Has the file system set the blocks aside; where it cannot, they are written, with bytes that no file system makes smaller.
fn allocate(made: &File) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(made, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Ok(()) => return Ok(()),
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => return Err(error.into()),
        // Not on this file system.
        Err(_) => {}
    }
    let noise = blake3::Hasher::new().finalize_xof();
    std::io::copy(&mut std::io::Read::take(noise, RESERVE_BYTES), &mut &*made)?;
    made.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_given_up_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::open(dir.path());
        let path = dir.path().join(RESERVE_FILE);
        let blocks = || std::fs::metadata(&path).unwrap().blocks() * 512;
        assert!(reserve.is_held() && blocks() >= RESERVE_BYTES);
        assert!(reserve.give_up() && !reserve.give_up() && !path.exists());
        assert!(!reserve.is_held());
        assert!(reserve.restore() && reserve.restore() && blocks() >= RESERVE_BYTES);
        drop(reserve);
        // Torn: as long, and a hole.
        let file = File::create(&path).unwrap();
        file.set_len(RESERVE_BYTES).unwrap();
        assert!(Reserve::open(dir.path()).is_held() && blocks() >= RESERVE_BYTES);
    }
}
