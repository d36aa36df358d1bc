//! Room that is kept for a full disk, so that transactions that free space can be written.
//!
//! Leaving a model is a transaction, and redb needs new pages for one. A file holds the room for them. When a transaction
//! that frees something finds the disk full, the file is removed and the transaction is tried again. Until the file is
//! back no blob is taken in: else uploads would take the room at once.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::statvfs;

use super::{StoreError, file};

/// Bytes of the reserve: 2,048 of redb's pages (4 KiB). Leaving a model with 10,000 records rewrites some hundred pages.
pub(super) const RESERVE_BYTES: u64 = 8 << 20;
/// Bytes that must be free besides the reserve before it is made again, so that it does not come and go.
const SLACK_BYTES: u64 = 1 << 20;
/// Free bytes below which a node takes in no weights once its reserve is used up.
pub const ROOM_BYTES_MIN: u64 = RESERVE_BYTES + SLACK_BYTES;
/// Name of the reserve's file, below the data directory.
pub(super) const RESERVE_FILE: &str = "reserve";

/// The reserve of one data directory.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// True while the whole file is there.
    held: Mutex<bool>,
}

impl Reserve {
    /// Finds the reserve below `root`, or makes it if there is room.
    pub(super) fn open(root: &Path) -> Self {
        let path = root.join(RESERVE_FILE);
        // `blocks` counts units of 512 bytes on every file system. A torn file has a hole or is too short, and so has
        // fewer blocks.
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

    /// Returns true if the reserve is there.
    pub(super) fn is_held(&self) -> bool {
        *self.held.lock()
    }

    /// Removes the reserve, so that its room is free. Returns `true` if there was one.
    pub(super) fn give_up(&self) -> bool {
        let mut held = self.held.lock();
        if !*held || file::remove(&self.path).is_err() {
            return false;
        }
        tracing::warn!(
            "the disk is full: its reserve is used to free space, and new weights are refused until there is room"
        );
        *held = false;
        true
    }

    /// Makes the reserve again if there is room. Returns true if the reserve is there now.
    pub(super) fn restore(&self) -> bool {
        let mut held = self.held.lock();
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
}

/// Returns the free bytes on a directory's disk for a user without privileges; `None` when the system does not say.
pub fn free_bytes(directory: &Path) -> Option<u64> {
    let found = statvfs(directory).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn make(path: &Path) -> Result<(), StoreError> {
    file::remove(path)?;
    let made = file::make(path)?;
    allocate(&made).map_err(|error| StoreError::from_io(path, error))
}

/// Makes the file system set the blocks aside. On a file system that cannot do that, writes them, with bytes that no file
/// system can compress.
fn allocate(made: &File) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    match rustix::fs::fallocate(made, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Ok(()) => return Ok(()),
        Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => return Err(error.into()),
        // This file system does not support it.
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
        // A torn file: as long as the reserve, but a hole.
        let file = File::create(&path).unwrap();
        file.set_len(RESERVE_BYTES).unwrap();
        assert!(Reserve::open(dir.path()).is_held() && blocks() >= RESERVE_BYTES);
    }
}
