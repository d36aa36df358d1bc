//! The bytes of disk that blobs take, and the limit for them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::reserve::{Reserve, free_bytes};
use super::{Quota, StoreError, clock, file};

/// Time after which the disk is measured again, because other programs take and free room there.
const MEASURED_KEPT: Duration = Duration::from_secs(10);
/// Time after which the disk is measured again before bytes are refused.
const MEASURED_KEPT_WHEN_FULL: Duration = Duration::from_secs(1);
/// Directories of files that are not blobs yet, or are blobs no longer.
const ON_THE_WAY: [&str; 3] = ["tmp", "uploads", "partial"];

/// Counts the bytes of blobs, and of blobs on their way in, against the limit.
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
    /// Bytes of whole blobs.
    held: u64,
    /// Bytes of temporary files, uploads and partial blobs.
    pending: u64,
}

/// The room on the disk at one moment, and the limits in bytes that follow from it.
#[derive(Debug, Clone, Copy)]
struct Measured {
    at: Instant,
    /// Free bytes on the disk; `None` when the system does not say.
    free: Option<u64>,
    limit: Option<u64>,
    uploads_limit: u64,
}

/// Bytes of the disk that a node takes, and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUse {
    /// Bytes of blobs.
    pub held: u64,
    /// Bytes on their way in: temporary files, unfinished uploads, half-fetched blobs.
    pub pending: u64,
    /// Limit of [`DiskUse::held`] and [`DiskUse::pending`] together, in bytes; `None` = no limit but the disk.
    pub limit: Option<u64>,
    /// Bytes of unfinished uploads with a key; they are a part of [`DiskUse::pending`].
    pub uploads: u64,
    /// Limit of [`DiskUse::uploads`], in bytes.
    pub uploads_limit: u64,
    /// Free bytes on the disk; `None` when the system does not say.
    pub free: Option<u64>,
}

impl Usage {
    /// Starts to count with the bytes that are on the disk already: `held` of whole blobs, `pending` on their way in.
    pub(super) fn new(root: &Path, reserve: Arc<Reserve>, quota: Quota, held: u64, pending: u64) -> Self {
        Self {
            measured: Mutex::new(measure(root, quota, held)),
            root: root.to_owned(),
            quota,
            reserve,
            counts: Mutex::new(Counts { held, pending }),
        }
    }

    /// Returns the last measurement of the disk, at most `kept` old; measures again when it is older.
    fn measured(&self, kept: Duration) -> Measured {
        let held = self.held();
        let mut measured = self.measured.lock();
        if clock::now() - measured.at >= kept {
            self.reserve.restore();
            *measured = measure(&self.root, self.quota, held);
        }
        *measured
    }

    /// Measures the disk again.
    pub(super) fn measure(&self) {
        self.measured(Duration::ZERO);
    }

    /// Returns the bytes of whole blobs.
    pub(super) fn held(&self) -> u64 {
        self.counts.lock().held
    }

    /// Returns the number of bytes that the limit still leaves.
    pub(super) fn room(&self) -> u64 {
        let limit = self.measured(MEASURED_KEPT).limit;
        let taken = self.counts.lock().taken();
        limit.map_or(u64::MAX, |max| max.saturating_sub(taken))
    }

    /// Returns the limit of unfinished uploads, in bytes.
    pub(super) fn uploads_limit(&self) -> u64 {
        self.measured(MEASURED_KEPT).uploads_limit
    }

    /// Returns all figures as a [`DiskUse`]; `uploads` = bytes of unfinished uploads, which the caller counts.
    pub(super) fn view(&self, uploads: u64) -> DiskUse {
        let measured = self.measured(MEASURED_KEPT);
        let counts = self.counts.lock();
        DiskUse {
            held: counts.held,
            pending: counts.pending,
            limit: measured.limit,
            uploads,
            uploads_limit: measured.uploads_limit,
            free: measured.free,
        }
    }

    /// Returns true if the reserve is given up: the disk is full, and the room that is left is for records.
    pub(super) fn is_disk_full(&self) -> bool {
        !self.reserve.is_held()
    }

    /// Returns true if there would be room for `bytes` bytes if nothing else were on its way in.
    pub(super) fn could_take(&self, bytes: u64) -> bool {
        let limit = self.measured(MEASURED_KEPT).limit;
        limit.is_none_or(|max| self.held().saturating_add(bytes) <= max)
    }

    /// Takes room for `bytes` bytes on their way in; fails with [`StoreError::Full`].
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
        let mut counts = self.counts.lock();
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

    /// Gives back the room of bytes that were on their way in and are gone.
    pub(super) fn give(&self, bytes: u64) {
        let mut counts = self.counts.lock();
        counts.pending = counts.pending.saturating_sub(bytes);
    }

    /// Counts bytes that were on their way in as a whole blob.
    pub(super) fn settle(&self, bytes: u64) {
        let mut counts = self.counts.lock();
        counts.pending = counts.pending.saturating_sub(bytes);
        counts.held = counts.held.saturating_add(bytes);
    }

    /// Gives back the room of a blob that was removed.
    pub(super) fn remove(&self, bytes: u64) {
        let mut counts = self.counts.lock();
        counts.held = counts.held.saturating_sub(bytes);
    }
}

impl Counts {
    fn taken(&self) -> u64 {
        self.held.saturating_add(self.pending)
    }
}

/// Measures the disk. A share ([`Quota::Share`]) is taken of the free bytes and the bytes of this node together, so the
/// limit stays the same while blobs come and go. Half-fetched blobs are sparse files, so files on their way in count with
/// the blocks that they have.
fn measure(root: &Path, quota: Quota, held: u64) -> Measured {
    let free = free_bytes(root);
    let on_the_way: u64 = ON_THE_WAY.iter().map(|name| allocated(&root.join(name))).sum();
    let within_reach = free.unwrap_or(u64::MAX).saturating_add(on_the_way).saturating_add(held);
    Measured {
        at: clock::now(),
        free,
        limit: quota.limit(within_reach),
        uploads_limit: quota.uploads_limit(within_reach),
    }
}

/// Returns the bytes that the files of a directory take on the disk.
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
        // Sparse files on their way in take no blocks yet.
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
        // The disk has room, so the next measurement makes the reserve again.
        usage.measure();
        usage.take(1).unwrap();
    }
}
