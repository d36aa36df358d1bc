//! A blob that arrives in segments.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use parking_lot::Mutex;
use qres_fed::id::BlobId;

use super::blob_file::read_values;
use super::partial_file::{Paths, key};
use super::segment::{SEGMENT_BYTES, SEGMENT_LEN};
use super::{BlobStore, Blobs, SegmentTree, StoreError, file};

/// A blob on its way in, segment by segment, in any order, from any thread. A dropped `Partial` keeps its segments on the
/// disk, over restarts, until [`BlobStore::collect_partials`] removes them.
///
/// There are three files. The first holds the bytes: it is as long as the blob, and sparse or full of rubbish where no
/// segment was written. The second holds the tree's values. The third has a byte for each segment that says whether it
/// was written. That byte is only a hint: each written segment is checked again when the blob is opened again.
pub struct Partial {
    blobs: Blobs,
    id: BlobId,
    tree: SegmentTree,
    paths: Paths,
    data: File,
    hint: File,
    here: Mutex<Vec<bool>>,
}

impl Blobs {
    /// Opens a blob that arrives in segments, in any order. Goes on where an earlier [`Partial`] stopped, also one before
    /// a restart. `tree` must be the blob's: its root is compared with `id` ([`StoreError::Partial`]). Takes room for the
    /// whole blob at once ([`StoreError::Full`]).
    pub fn partial(&self, id: BlobId, tree: SegmentTree) -> Result<Partial, StoreError> {
        if tree.root() != id {
            return Err(StoreError::Partial {
                id,
                problem: "the list of its segments' values is not this blob's".to_owned(),
            });
        }
        let paths = Paths::new(self.store().root(), self.owner(), &id);
        let fail = |error| StoreError::from_io(&paths.data, error);
        let kept = file::len(&paths.data);
        if kept != Some(tree.bytes()) {
            self.store().take_room(tree.bytes())?;
            let room = self.start_partial(&paths, &tree);
            self.store()
                .usage()
                .give(if room.is_ok() { kept.unwrap_or(0) } else { tree.bytes() });
            room?;
        } else if self.partial_tree(&id).is_none() {
            self.keep_tree(&paths, &tree)?;
        }
        let data = file::open_or_make(&paths.data)?;
        let hint = file::open_or_make(&paths.hint)?;
        hint.set_len(tree.count()).map_err(fail)?;
        let here = check_segments(&tree, &data, &hint).map_err(fail)?;
        Ok(Partial {
            blobs: self.clone(),
            id,
            tree,
            paths,
            data,
            hint,
            here: Mutex::new(here),
        })
    }

    /// Returns the tree of a partial blob that is kept, so that the caller can ask peers for the missing segments without
    /// asking for the tree again.
    pub fn partial_tree(&self, id: &BlobId) -> Option<SegmentTree> {
        let paths = Paths::new(self.store().root(), self.owner(), id);
        let bytes = file::len(&paths.data)?;
        let values = read_values(&paths.tree, SegmentTree::count_for(bytes))?;
        SegmentTree::from_values(bytes, values).filter(|tree| tree.root() == *id)
    }

    /// Makes the files of a new partial blob. The data comes last, because its file says that there is a partial blob.
    fn start_partial(&self, paths: &Paths, tree: &SegmentTree) -> Result<(), StoreError> {
        paths.remove()?;
        self.keep_tree(paths, tree)?;
        let (data, fresh, _) = self.store().temporary_file(tree.bytes())?;
        data.set_len(tree.bytes())
            .and_then(|()| std::fs::rename(&fresh, &paths.data))
            .map_err(|error| StoreError::from_io(&paths.data, error))
    }

    fn keep_tree(&self, paths: &Paths, tree: &SegmentTree) -> Result<(), StoreError> {
        let values = self.store().write_values(tree)?;
        std::fs::rename(values, &paths.tree).map_err(|error| StoreError::from_io(&paths.tree, error))
    }
}

impl BlobStore {
    /// Removes the partial blobs whose data was not written to for `idle` or longer, and returns their number.
    pub fn collect_partials(&self, idle: Duration) -> Result<usize, StoreError> {
        let mut collected = 0;
        for (name, metadata) in file::files(&self.root().join("partial"))? {
            if let (Some((owner, id)), true) = (key(&name), file::is_idle(&metadata, idle)) {
                Paths::new(self.root(), owner, &id).remove()?;
                self.usage().give(metadata.len());
                collected += 1;
            }
        }
        Ok(collected)
    }
}

/// Returns a flag for each segment: true if it was written and its bytes are right.
fn check_segments(tree: &SegmentTree, data: &File, hint: &File) -> std::io::Result<Vec<bool>> {
    let mut written = vec![0; usize::try_from(tree.count()).unwrap_or(usize::MAX)];
    hint.read_exact_at(&mut written, 0)?;
    let mut buffer = vec![0; SEGMENT_LEN];
    let mut here = Vec::with_capacity(written.len());
    for (index, written) in (0..).zip(written) {
        let segment = &mut buffer[..tree.len_of(index)];
        here.push(
            written == 1 && {
                data.read_exact_at(segment, index * SEGMENT_BYTES)?;
                tree.verify(index, segment)
            },
        );
    }
    Ok(here)
}

impl Partial {
    /// Returns the id of the blob.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Returns the tree of the blob.
    pub fn tree(&self) -> &SegmentTree {
        &self.tree
    }

    /// Returns the indices of the missing segments, ascending.
    pub fn missing(&self) -> Vec<u64> {
        let here = self.here.lock();
        (0..)
            .zip(here.iter())
            .filter(|(_, here)| !**here)
            .map(|(index, _)| index)
            .collect()
    }

    /// Writes a segment. Returns `false`, and writes nothing, when `bytes` are not the bytes of that segment.
    pub fn write(&self, index: u64, bytes: &[u8]) -> Result<bool, StoreError> {
        if !self.tree.verify(index, bytes) {
            return Ok(false);
        }
        self.blobs
            .store()
            .with_room(|| self.data.write_all_at(bytes, index * SEGMENT_BYTES))
            .and_then(|()| self.hint.write_all_at(&[1], index))
            .map_err(|error| StoreError::from_io(&self.paths.data, error))?;
        // The segment is verified, so its index is in range.
        self.here.lock()[index as usize] = true;
        Ok(true)
    }

    /// Turns the partial blob into a blob. A missing segment is [`StoreError::Partial`]. `sync` = fsynced before the call
    /// returns.
    pub fn finish(self, sync: bool) -> Result<(), StoreError> {
        let missing = self.missing().len();
        if missing > 0 {
            return Err(StoreError::Partial {
                id: self.id,
                problem: format!("{missing} of {} segments are not here", self.tree.count()),
            });
        }
        if !self.paths.data.exists() && self.blobs.contains(&self.id) {
            // Another `Partial` of the same blob has finished meanwhile.
            return self.paths.remove();
        }
        if sync && let Err(error) = self.data.sync_all() {
            // The kernel may now take lost pages for written ones: no byte of this file can be trusted.
            let error = StoreError::from_io(&self.paths.data, error);
            self.discard()?;
            return Err(error);
        }
        // A blob of one segment needs no list of values beside it.
        let values = (self.tree.count() > 1).then_some(self.paths.tree.as_path());
        self.blobs.adopt_with(&self.paths.data, values, &self.tree, sync)?;
        self.paths.remove()
    }

    /// Removes all files of the partial blob and gives its room back.
    pub fn discard(self) -> Result<(), StoreError> {
        if file::remove(&self.paths.data)? {
            self.blobs.store().usage().give(self.tree.bytes());
        }
        self.paths.remove()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::tests::{blobs, count_files, noise};
    use super::*;

    const LEN: usize = 3 * SEGMENT_LEN + 5;

    fn segment(bytes: &[u8], index: u64) -> &[u8] {
        bytes.chunks(SEGMENT_LEN).nth(index as usize).unwrap_or_default()
    }

    #[test]
    fn segments_arrive_in_any_order_and_only_right_ones() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        for len in [0, 9, SEGMENT_LEN, LEN] {
            let bytes = noise(len);
            let id = BlobId::of(&bytes);
            let partial = blobs.partial(id, SegmentTree::of(&bytes)).unwrap();
            assert_eq!(partial.id(), id);
            let missing = partial.missing();
            assert_eq!(missing.len() as u64, partial.tree().count());
            for &index in missing.iter().rev() {
                assert!(!partial.write(index, b"these are not its bytes").unwrap());
                assert!(partial.write(index, segment(&bytes, index)).unwrap());
            }
            assert_eq!(partial.missing(), Vec::<u64>::new());
            partial.finish(true).unwrap();
            assert!(blobs.verify(&id).unwrap());
            assert_eq!(blobs.segments(&id).unwrap().unwrap(), SegmentTree::of(&bytes).values());
        }
        assert_eq!(count_files(&dir.path().join("partial")), 0);
    }

    #[test]
    fn it_goes_on_after_a_restart_with_what_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = noise(LEN);
        let id = BlobId::of(&bytes);
        let first = blobs(dir.path());
        assert!(first.partial_tree(&id).is_none());
        let partial = first.partial(id, SegmentTree::of(&bytes)).unwrap();
        for index in [0, 2, 3] {
            assert!(partial.write(index, segment(&bytes, index)).unwrap());
        }
        let unfinished = partial.finish(false).unwrap_err();
        assert!(unfinished.to_string().contains("1 of 4 segments"), "{unfinished}");
        drop(first);
        // This changes a byte of segment 2 on the disk.
        let data = dir.path().join("partial").join(format!("node-{id}"));
        let file = std::fs::OpenOptions::new().write(true).open(&data).unwrap();
        file.write_all_at(&[!bytes[2 * SEGMENT_LEN]], 2 * SEGMENT_BYTES)
            .unwrap();
        let second = blobs(dir.path());
        let tree = second.partial_tree(&id).unwrap();
        let partial = second.partial(id, tree).unwrap();
        assert_eq!(partial.missing(), [1, 2]);
        drop(partial);
        // A torn list of values is replaced by the values that the caller gives.
        std::fs::write(data.with_extension("tree"), [0; 127]).unwrap();
        assert!(second.partial_tree(&id).is_none());
        let partial = second.partial(id, SegmentTree::of(&bytes)).unwrap();
        assert_eq!(
            (second.partial_tree(&id), partial.missing().len()),
            (Some(SegmentTree::of(&bytes)), 2)
        );
        for index in [1, 2] {
            assert!(partial.write(index, segment(&bytes, index)).unwrap());
        }
        partial.finish(false).unwrap();
        assert!(second.verify(&id).unwrap());
        assert_eq!(second.store().bytes(), LEN as u64);
    }

    #[test]
    fn a_foreign_tree_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = blobs(dir.path())
            .partial(BlobId::of(b"a"), SegmentTree::of(b"b"))
            .err()
            .unwrap();
        assert!(matches!(error, StoreError::Partial { .. }), "{error}");
        assert_eq!(count_files(&dir.path().join("partial")), 0);
    }

    #[test]
    fn two_at_once_both_come_to_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let id = BlobId::of(b"abc");
        let first = blobs.partial(id, SegmentTree::of(b"abc")).unwrap();
        assert!(first.write(0, b"abc").unwrap());
        let second = blobs.partial(id, SegmentTree::of(b"abc")).unwrap();
        assert_eq!(second.missing(), Vec::<u64>::new());
        first.finish(true).unwrap();
        second.finish(true).unwrap();
        assert_eq!(blobs.store().bytes(), 3);
    }

    #[test]
    fn what_is_discarded_idle_or_half_made_goes() {
        let dir = tempfile::tempdir().unwrap();
        let first = blobs(dir.path());
        let trees = [b"old", b"new", b"bad"].map(|bytes| SegmentTree::of(bytes));
        let [old, new, bad] = trees.map(|tree| first.partial(tree.root(), tree).unwrap());
        let hour = Duration::from_secs(3600);
        let long_ago = SystemTime::UNIX_EPOCH;
        old.data.set_modified(long_ago).unwrap();
        assert_eq!(first.store().collect_partials(hour).unwrap(), 1);
        bad.discard().unwrap();
        assert_eq!(count_files(&dir.path().join("partial")), 3);
        std::fs::remove_file(&new.paths.data).unwrap();
        drop((old, new, first));
        blobs(dir.path());
        assert_eq!(count_files(&dir.path().join("partial")), 0);
    }
}
