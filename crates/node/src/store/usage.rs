//! How much blobs take, and may take.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::StoreError;

/// Counts the bytes of blobs and of those on their way in, against the limit.
#[derive(Debug)]
pub(super) struct Usage {
    bytes_max: Option<u64>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Of whole blobs.
    held: u64,
    /// Of temporary files, uploads and partial blobs.
    pending: u64,
}

impl Usage {
    /// With what is on the disk already.
    pub(super) fn new(bytes_max: Option<u64>, held: u64, pending: u64) -> Self {
        Self {
            bytes_max,
            counts: Mutex::new(Counts { held, pending }),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Plain numbers: whoever panicked left them whole.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of whole blobs.
    pub(super) fn held(&self) -> u64 {
        self.counts().held
    }

    /// Bytes that may still come.
    pub(super) fn room(&self) -> u64 {
        let counts = self.counts();
        let taken = counts.held.saturating_add(counts.pending);
        self.bytes_max.map_or(u64::MAX, |max| max.saturating_sub(taken))
    }

    /// Takes room for bytes on their way in.
    pub(super) fn take(&self, bytes: u64) -> Result<(), StoreError> {
        let mut counts = self.counts();
        let taken = counts.held.saturating_add(counts.pending);
        match self.bytes_max {
            Some(max) if taken.saturating_add(bytes) > max => Err(StoreError::Full(format!(
                "blob_bytes_max is {max} bytes, {taken} are taken and {bytes} more are asked for: raise it or keep less"
            ))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_what_is_held_and_what_is_coming() {
        let usage = Usage::new(Some(10), 4, 1);
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
    }
}
