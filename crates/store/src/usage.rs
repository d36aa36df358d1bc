//! How much blobs take, and may take.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::reserve::{Reserve, free_bytes};
use super::{Quota, StoreError, file};

/// What other programs take and free is looked at again after that.
const MEASURED_KEPT: Duration = Duration::from_secs(10);
/// Before bytes are refused, already after that.
const MEASURED_KEPT_WHEN_FULL: Duration = Duration::from_secs(1);
/// Where files are that are no blobs yet, or no longer.
const ON_THE_WAY: [&str; 3] = ["tmp", "uploads", "partial"];

/// Counts the bytes of blobs and of those on their way in, against the limit.
#[derive(Debug)]
pub(super) struct Usage {
    root: PathBuf,
    quota: Quota,
    reserve: Arc<Reserve>,
    counts: Mutex<Counts>,
    measured: Mutex<Measured>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Of whole blobs.
    held: u64,
    /// Of temporary files, uploads and partial blobs.
    pending: u64,
}

/// What the disk said.
#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Instant,
    /// `None` when the system does not say.
    free: Option<u64>,
    limit: Option<u64>,
    uploads_limit: u64,
}

/// How much of the disk a node takes, and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUse {
    /// Bytes of blobs.
    pub held: u64,
    /// Bytes on their way in: temporary files, unfinished uploads, half-fetched blobs.
    pub pending: u64,
    /// The most of both; `None` = no limit but the disk.
    pub limit: Option<u64>,
    /// Of them, bytes of unfinished uploads with a key.
    pub uploads: u64,
    /// The most of those.
    pub uploads_limit: u64,
    /// What is free on the disk; `None` when the system does not say.
    pub free: Option<u64>,
}

impl Usage {
    /// With what is on the disk already.
    pub(super) fn new(root: &Path, reserve: Arc<Reserve>, quota: Quota, held: u64, pending: u64) -> Self {
        Self {
            measured: Mutex::new(measure(root, quota, held)),
            root: root.to_owned(),
            quota,
            reserve,
            counts: Mutex::new(Counts { held, pending }),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Plain numbers: whoever panicked left them whole.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the disk said, at most that long ago.
    fn measured(&self, kept: Duration) -> Measured {
        let held = self.held();
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        if measured.at.elapsed() >= kept {
            self.reserve.restore();
            *measured = measure(&self.root, self.quota, held);
        }
        *measured
    }

    /// Looks at the disk again.
    pub(super) fn measure(&self) {
        self.measured(Duration::ZERO);
    }

    /// Bytes of whole blobs.
    pub(super) fn held(&self) -> u64 {
        self.counts().held
    }

    /// Bytes that may still come.
    pub(super) fn room(&self) -> u64 {
        let limit = self.measured(MEASURED_KEPT).limit;
        let taken = self.counts().taken();
        limit.map_or(u64::MAX, |max| max.saturating_sub(taken))
    }

    /// The most bytes of unfinished uploads.
    pub(super) fn uploads_limit(&self) -> u64 {
        self.measured(MEASURED_KEPT).uploads_limit
    }

    /// All of it; `uploads` = bytes of unfinished uploads.
    pub(super) fn view(&self, uploads: u64) -> DiskUse {
        let measured = self.measured(MEASURED_KEPT);
        let counts = self.counts();
        DiskUse {
            held: counts.held,
            pending: counts.pending,
            limit: measured.limit,
            uploads,
            uploads_limit: measured.uploads_limit,
            free: measured.free,
        }
    }

    /// Whether the reserve is given up: the disk is full, and what is left of it is for records.
    pub(super) fn is_disk_full(&self) -> bool {
        !self.reserve.is_held()
    }

    /// Whether there would be room for bytes if nothing else were on its way in.
    pub(super) fn could_take(&self, bytes: u64) -> bool {
        let limit = self.measured(MEASURED_KEPT).limit;
        limit.is_none_or(|max| self.held().saturating_add(bytes) <= max)
    }

    /// Takes room for bytes on their way in.
    pub(super) fn take(&self, bytes: u64) -> Result<(), StoreError> {
        self.take_now(bytes, MEASURED_KEPT)
            .or_else(|_| self.take_now(bytes, MEASURED_KEPT_WHEN_FULL))
    }

    fn take_now(&self, bytes: u64, kept: Duration) -> Result<(), StoreError> {
        let limit = self.measured(kept).limit;
        if self.is_disk_full() {
            return Err(StoreError::Full(format!(
                "{}: what is left is kept for records, weights are taken again when there is room",
                self.root.display()
            )));
        }
        let mut counts = self.counts();
        let taken = counts.taken();
        match limit {
            Some(max) if taken.saturating_add(bytes) > max => Err(StoreError::Full(match self.quota {
                Quota::Share(percent) => format!(
                    "blob_bytes_max is {percent}% of what weights take and what is free, {max} bytes now, {taken} are taken and \
                     {bytes} more are asked for: make room on the disk, raise it or keep less"
                ),
                _ => format!(
                    "blob_bytes_max is {max} bytes, {taken} are taken and {bytes} more are asked for: raise it or keep less"
                ),
            })),
            _ => {
                counts.pending = counts.pending.saturating_add(bytes);
                Ok(())
            }
        }
    }

    /// Bytes on their way in are gone.
    pub(super) fn give(&self, bytes: u64) {
        let mut counts = self.counts();
        counts.pending = counts.pending.saturating_sub(bytes);
    }

    /// Bytes on their way in became a blob.
    pub(super) fn settle(&self, bytes: u64) {
        let mut counts = self.counts();
        counts.pending = counts.pending.saturating_sub(bytes);
        counts.held = counts.held.saturating_add(bytes);
    }

    /// A blob is gone.
    pub(super) fn remove(&self, bytes: u64) {
        let mut counts = self.counts();
        counts.held = counts.held.saturating_sub(bytes);
    }
}

impl Counts {
    fn taken(&self) -> u64 {
        self.held.saturating_add(self.pending)
    }
}

/// The limit holds for what is free and what is ours, so it stays the same while blobs come and go. Half-fetched blobs are sparse,
/// so files on their way count with the blocks that they have.
fn measure(root: &Path, quota: Quota, held: u64) -> Measured {
    let free = free_bytes(root);
    let on_the_way: u64 = ON_THE_WAY.iter().map(|name| allocated(&root.join(name))).sum();
    let within_reach = free.unwrap_or(u64::MAX).saturating_add(on_the_way).saturating_add(held);
    Measured {
        at: Instant::now(),
        free,
        limit: quota.limit(within_reach),
        uploads_limit: quota.uploads_limit(within_reach),
    }
}

/// Bytes that the files of a directory have on the disk.
fn allocated(directory: &Path) -> u64 {
    let files = file::files(directory).unwrap_or_default();
    files
        .iter()
        .map(|(_, metadata)| metadata.blocks().saturating_mul(512))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(root: &Path, quota: Quota, held: u64, pending: u64) -> Usage {
        Usage::new(root, Arc::new(Reserve::open(root)), quota, held, pending)
    }

    #[test]
    fn the_limit_counts_what_is_held_and_what_is_coming() {
        let dir = tempfile::tempdir().unwrap();
        let usage = usage(dir.path(), Quota::Bytes(10), 4, 1);
        usage.take(5).unwrap();
        let error = usage.take(1).unwrap_err();
        assert!(error.to_string().contains("blob_bytes_max is 10 bytes"), "{error}");
        usage.settle(5);
        assert_eq!((usage.held(), usage.room()), (9, 0));
        usage.take(1).unwrap_err();
        usage.remove(4);
        usage.take(4).unwrap();
        usage.give(4);
        usage.take(u64::MAX).unwrap_err();
        assert_eq!(usage.uploads_limit(), 2);
    }

    #[test]
    fn a_share_leaves_room_on_the_disk_whatever_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let usage = usage(dir.path(), Quota::DEFAULT, 0, 0);
        let view = usage.view(0);
        let (limit, free) = (view.limit.unwrap(), view.free.unwrap());
        assert!(limit > free / 100 * 89 && limit <= free, "{limit} of {free}");
        let error = usage.take(free).unwrap_err();
        assert!(error.to_string().contains("90%"), "{error}");
        usage.take(free / 2).unwrap();
        // Sparse files on their way take nothing yet.
        std::fs::create_dir(dir.path().join("partial")).unwrap();
        let sparse = std::fs::File::create(dir.path().join("partial/x")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        usage.measure();
        assert!(usage.view(0).limit.unwrap() <= free);
    }

    #[test]
    fn nothing_is_taken_while_the_reserve_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let usage = usage(dir.path(), Quota::Unlimited, 0, 0);
        usage.take(1).unwrap();
        assert!(usage.reserve.give_up());
        let error = usage.take(1).unwrap_err();
        assert!(matches!(error, StoreError::Full(_)), "{error}");
        // There is room: the next look makes it again.
        usage.measure();
        usage.take(1).unwrap();
    }
}
