//! Whether something large will fit, asked before its first byte is written.

use super::reserve::free_bytes;
use super::{BlobStore, StoreError};

impl BlobStore {
    /// Whether so many bytes more fit below the limit and on the disk. A promise it is not: others write meanwhile, and each
    /// byte is counted when it is written.
    pub fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        let left = self.usage().room();
        if bytes > left {
            return Err(StoreError::Full(format!(
                "blob_bytes_max leaves {left} bytes, {bytes} more are asked for: raise it or keep less"
            )));
        }
        let free = || free_bytes(self.root()).unwrap_or(u64::MAX);
        if bytes > free() {
            // Spare files are free room too.
            self.spares().shrink(0);
        }
        let free = free();
        if bytes > free {
            return Err(StoreError::Full(format!(
                "{} has {free} bytes left, {bytes} more are asked for",
                self.root().display()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::blobs;
    use super::*;

    #[test]
    fn what_the_disk_has_no_room_for_is_refused_before_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path()).store().clone();
        blobs.check_room(1).unwrap();
        let error = blobs.check_room(u64::MAX).unwrap_err();
        assert!(
            matches!(&error, StoreError::Full(why) if why.contains("bytes left")),
            "{error}"
        );
    }
}
