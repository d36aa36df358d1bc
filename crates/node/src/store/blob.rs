//! Content-addressed files.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use qres_fed::id::BlobId;
use qres_fed::tensor::Source;

use super::directory::Directory;
use super::upload::Slot;
use super::usage::Usage;
use super::{BlobWriter, SegmentTree, StoreError, file};

/// A flushed blob is read-only, one that is not flushed yet has the owner's write bit: so it can be told after a power cut
/// which ones may be torn, without a record of its own.
const FLUSHED: u32 = 0o400;
const WRITE_BIT: u32 = 0o200;

/// The blob files below one directory. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    directory: Directory,
    usage: Usage,
    /// Held while a name below `blobs` comes or goes, so that the count of bytes stays right.
    names: Mutex<()>,
    uploads: Mutex<HashMap<[u8; 32], Slot>>,
    temporary: AtomicU64,
}

/// A blob open for reading: positioned reads, from any thread. It stays readable when the blob is removed.
#[derive(Debug)]
pub struct BlobFile {
    file: File,
    len: u64,
}

impl Blobs {
    /// Takes over a directory: looks through what a power cut may have torn, counts what is there.
    pub(super) fn take_over(directory: Directory, bytes_max: Option<u64>) -> Result<Self, StoreError> {
        let mut held = 0u64;
        let mut doubtful = Vec::new();
        for (id, metadata) in scan(directory.root())? {
            held = held.saturating_add(metadata.len());
            if directory.rebooted() && metadata.permissions().mode() & WRITE_BIT != 0 {
                doubtful.push(id);
            }
        }
        let pending = super::upload::recover(&directory)?.saturating_add(super::partial::recover(&directory)?);
        let mut inner = Inner {
            directory,
            usage: Usage::new(bytes_max, held, pending),
            names: Mutex::default(),
            uploads: Mutex::default(),
            temporary: AtomicU64::new(0),
        };
        inner.check(&doubtful)?;
        inner.directory.settle()?;
        Ok(Self(Arc::new(inner)))
    }

    /// Whether the blob is here, whole.
    pub fn contains(&self, id: &BlobId) -> bool {
        self.len(id).is_some()
    }

    /// Its length, if it is here.
    pub fn len(&self, id: &BlobId) -> Option<u64> {
        file::len(&self.0.path(id))
    }

    /// Opens it, if it is here.
    pub fn open(&self, id: &BlobId) -> Result<Option<BlobFile>, StoreError> {
        self.0.open(id)
    }

    /// A new temporary file.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let path = self.temporary();
        Ok(BlobWriter::temporary(self.clone(), file::make(&path)?, path))
    }

    /// A small blob at once; `sync` = fsynced before it returns. One that is here already costs its hash.
    pub fn put(&self, bytes: &[u8], sync: bool) -> Result<BlobId, StoreError> {
        let tree = SegmentTree::of(bytes);
        let id = tree.root();
        if self.len(&id) == Some(tree.bytes()) {
            if sync {
                self.sync(&id)?;
            }
            return Ok(id);
        }
        self.usage().take(tree.bytes())?;
        let path = self.temporary();
        let made = file::make(&path).inspect_err(|_| self.usage().give(tree.bytes()))?;
        made.write_all_at(bytes, 0)
            .and_then(|()| if sync { made.sync_all() } else { Ok(()) })
            .map_err(|error| StoreError::from_io(&path, error))
            .and_then(|()| self.adopt(&path, &tree, sync))
            .inspect_err(|_| self.abandon(&path, tree.bytes()))?;
        Ok(id)
    }

    /// Removes a blob, if it is here. Whoever has it open reads on.
    pub fn remove(&self, id: &BlobId) -> Result<(), StoreError> {
        self.0.remove(id)
    }

    /// Every blob held, with its length, ascending by id.
    pub fn list(&self) -> Result<Vec<(BlobId, u64)>, StoreError> {
        let mut all: Vec<_> = scan(self.root())?.into_iter().map(|(id, m)| (id, m.len())).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Bytes of all blobs held (a running count).
    pub fn bytes(&self) -> u64 {
        self.usage().held()
    }

    /// Reads a blob again and compares its digest: `false` removes it. `false`, too, when it is not here.
    pub fn verify(&self, id: &BlobId) -> Result<bool, StoreError> {
        self.0.verify(id)
    }

    /// Flushes a blob to the disk.
    pub fn sync(&self, id: &BlobId) -> Result<(), StoreError> {
        let path = self.0.path(id);
        let fail = |error| StoreError::from_io(&path, error);
        let open = File::open(&path).map_err(fail)?;
        if open.metadata().map_err(fail)?.permissions().mode() & WRITE_BIT != 0 {
            open.sync_all().map_err(fail)?;
            open.set_permissions(Permissions::from_mode(FLUSHED)).map_err(fail)?;
        }
        file::sync_dir_of(&path)
    }

    /// The chaining values of a blob's segments (see [`SegmentTree`]), kept beside blobs of more than one segment; `None` when
    /// the blob is not here.
    pub fn segments(&self, id: &BlobId) -> Result<Option<Vec<[u8; 32]>>, StoreError> {
        Ok(self.tree(id)?.map(|tree| tree.values().to_vec()))
    }

    /// The same as a tree, the blob's length included. One that is lost or torn is made anew.
    pub fn tree(&self, id: &BlobId) -> Result<Option<SegmentTree>, StoreError> {
        let Some(open) = self.0.open(id)? else { return Ok(None) };
        let kept = match SegmentTree::count_for(open.len) {
            1 => SegmentTree::from_values(open.len, vec![id.0]),
            count => read_values(&values_path(&self.0.path(id)), count)
                .and_then(|values| SegmentTree::from_values(open.len, values))
                .filter(|tree| tree.root() == *id),
        };
        if kept.is_some() {
            return Ok(kept);
        }
        let path = self.0.path(id);
        let tree = SegmentTree::build(open.file).map_err(|error| StoreError::from_io(&path, error))?;
        if tree.root() != *id {
            return Err(StoreError::Damaged(format!(
                "blob {id} has other bytes than its name says: remove {}",
                path.display()
            )));
        }
        let values = self.write_values(&tree)?;
        fs::rename(&values, values_path(&path)).map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Some(tree))
    }
}

/// For the other files of this module's parts: writers, uploads, partial blobs.
impl Blobs {
    pub(super) fn root(&self) -> &Path {
        self.0.directory.root()
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.0.usage
    }

    pub(super) fn uploads(&self) -> &Mutex<HashMap<[u8; 32], Slot>> {
        &self.0.uploads
    }

    /// A name below `tmp` that no one else has: the directory is ours and was empty when it was opened.
    pub(super) fn temporary(&self) -> PathBuf {
        let number = self.0.temporary.fetch_add(1, Ordering::Relaxed);
        self.root().join("tmp").join(number.to_string())
    }

    /// Removes a file that will be no blob, if it is there, and gives its room back. Errors do not matter: what stays is found
    /// at the next start.
    pub(super) fn abandon(&self, path: &Path, counted: u64) {
        match file::remove(path) {
            Ok(true) => self.usage().give(counted),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot remove a file that is no longer needed"),
        }
    }

    /// Makes a whole file, counted as on its way in, a blob. `synced` = its content is flushed: the names will be, too. If the
    /// blob is here already, that one stays.
    pub(super) fn adopt(&self, from: &Path, tree: &SegmentTree, synced: bool) -> Result<(), StoreError> {
        let id = tree.root();
        let path = self.0.path(&id);
        let fail = |error| StoreError::from_io(&path, error);
        let values = (tree.count() > 1).then(|| self.write_values(tree)).transpose()?;
        if synced {
            fs::set_permissions(from, Permissions::from_mode(FLUSHED)).map_err(fail)?;
        }
        let names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(values) = values {
            fs::rename(values, values_path(&path)).map_err(fail)?;
        }
        let here = file::len(&path);
        if here == Some(tree.bytes()) {
            drop(names);
            self.abandon(from, tree.bytes());
            return if synced { self.sync(&id) } else { Ok(()) };
        }
        fs::rename(from, &path).map_err(fail)?;
        self.usage().remove(here.unwrap_or(0));
        self.usage().settle(tree.bytes());
        drop(names);
        if synced { file::sync_dir_of(&path) } else { Ok(()) }
    }

    /// Writes a tree's values to a temporary file.
    fn write_values(&self, tree: &SegmentTree) -> Result<PathBuf, StoreError> {
        let path = self.temporary();
        fs::write(&path, tree.values().as_flattened()).map_err(|error| {
            let _ = file::remove(&path);
            StoreError::from_io(&path, error)
        })?;
        Ok(path)
    }
}

impl Inner {
    fn path(&self, id: &BlobId) -> PathBuf {
        let name = id.to_string();
        self.directory.root().join("blobs").join(&name[..2]).join(name)
    }

    fn open(&self, id: &BlobId) -> Result<Option<BlobFile>, StoreError> {
        let path = self.path(id);
        let opened = File::open(&path).and_then(|file| file.metadata().map(|m| BlobFile { len: m.len(), file }));
        match opened {
            Ok(blob) => Ok(Some(blob)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::from_io(&path, error)),
        }
    }

    fn remove(&self, id: &BlobId) -> Result<(), StoreError> {
        let path = self.path(id);
        let _names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = file::len(&path);
        if file::remove(&path)? {
            self.usage.remove(bytes.unwrap_or(0));
        }
        file::remove(&values_path(&path)).map(|_| ())
    }

    fn verify(&self, id: &BlobId) -> Result<bool, StoreError> {
        let Some(open) = self.open(id)? else { return Ok(false) };
        let tree = SegmentTree::build(open.file).map_err(|error| StoreError::from_io(self.path(id), error))?;
        if tree.root() == *id {
            return Ok(true);
        }
        tracing::warn!(blob = %id, "a blob was damaged on the disk: removed, to be fetched again");
        self.remove(id)?;
        Ok(false)
    }

    /// After a reboot: what was not flushed before is read again, and is then as good as flushed.
    fn check(&self, doubtful: &[BlobId]) -> Result<(), StoreError> {
        for id in doubtful {
            if self.verify(id)? {
                let path = self.path(id);
                fs::set_permissions(&path, Permissions::from_mode(FLUSHED))
                    .map_err(|error| StoreError::from_io(&path, error))?;
            }
        }
        Ok(())
    }
}

/// Every blob below a data directory.
fn scan(root: &Path) -> Result<Vec<(BlobId, Metadata)>, StoreError> {
    let mut all = Vec::new();
    for first in 0..=255u8 {
        let prefix = hex::encode([first]);
        for (name, metadata) in file::files(&root.join("blobs").join(&prefix))? {
            if let (true, Ok(id)) = (name.starts_with(&prefix), name.parse()) {
                all.push((id, metadata));
            }
        }
    }
    Ok(all)
}

/// Where the chaining values of a blob's segments are.
fn values_path(blob: &Path) -> PathBuf {
    blob.with_extension("seg")
}

/// `count` values, when the file holds just so many.
pub(super) fn read_values(path: &Path, count: u64) -> Option<Vec<[u8; 32]>> {
    if file::len(path)? != count.checked_mul(32)? {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let (values, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && values.len() as u64 == count).then(|| values.to_vec())
}

impl Source for BlobFile {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::segment::SEGMENT_LEN;
    use super::super::tests::{blobs, count_files, noise};
    use super::super::{Store, StoreOptions};
    use super::*;

    #[test]
    fn a_blob_is_read_by_position_and_outlives_its_removal() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let id = blobs.put(b"0123456789", true).unwrap();
        let open = blobs.open(&id).unwrap().unwrap();
        blobs.remove(&id).unwrap();
        blobs.remove(&id).unwrap();
        assert!(!blobs.contains(&id) && blobs.open(&id).unwrap().is_none());
        assert_eq!((blobs.bytes(), Source::len(&open)), (0, 10));
        let mut part = [0; 4];
        open.read_at(3, &mut part).unwrap();
        assert_eq!(&part, b"3456");
        for past in [7, 10, u64::MAX] {
            assert!(open.read_at(past, &mut part).is_err());
        }
    }

    #[test]
    fn putting_twice_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let id = blobs.put(b"abc", false).unwrap();
        assert_eq!(blobs.put(b"abc", true).unwrap(), id);
        let (mut one, mut two) = (blobs.writer().unwrap(), blobs.writer().unwrap());
        one.write_all(b"abc").unwrap();
        two.write_all(b"abc").unwrap();
        assert_eq!(one.finish(true).unwrap(), (id, 3));
        assert_eq!(two.finish(false).unwrap(), (id, 3));
        assert_eq!((blobs.bytes(), blobs.list().unwrap()), (3, vec![(id, 3)]));
        assert_eq!(count_files(&dir.path().join("tmp")), 0);
    }

    #[test]
    fn many_writers_of_a_blob_all_succeed_and_it_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for content in 0..20u8 {
                        let bytes = [content; 100];
                        let mut writer = blobs.writer().unwrap();
                        writer.write_all(&bytes).unwrap();
                        assert_eq!(writer.finish(false).unwrap().0, BlobId::of(&bytes));
                        assert_eq!(blobs.put(&bytes, false).unwrap(), BlobId::of(&bytes));
                    }
                });
            }
        });
        assert_eq!((blobs.bytes(), blobs.list().unwrap().len()), (2000, 20));
    }

    #[test]
    fn a_damaged_blob_is_told_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let bytes = noise(SEGMENT_LEN + 1);
        let id = blobs.put(&bytes, true).unwrap();
        let path = blobs.0.path(&id);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[!bytes[0]], 0).unwrap();
        assert!(!blobs.verify(&id).unwrap());
        assert!(!blobs.contains(&id) && !values_path(&path).exists());
        assert!(!blobs.verify(&id).unwrap());
        blobs.put(&bytes, true).unwrap();
        assert!(blobs.verify(&id).unwrap());
    }

    #[test]
    fn a_lost_or_torn_list_of_values_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let bytes = noise(2 * SEGMENT_LEN + 1);
        let id = blobs.put(&bytes, false).unwrap();
        let path = values_path(&blobs.0.path(&id));
        for torn in [None, Some(&b""[..]), Some(&[7; 96]), Some(&[7; 95])] {
            match torn {
                None => fs::remove_file(&path).unwrap(),
                Some(torn) => fs::write(&path, torn).unwrap(),
            }
            assert_eq!(blobs.tree(&id).unwrap().unwrap(), SegmentTree::of(&bytes));
            assert_eq!(fs::read(&path).unwrap().len(), 96);
        }
        assert_eq!(blobs.list().unwrap().len(), 1, "the list is no blob");
        assert!(blobs.segments(&BlobId::of(b"absent")).unwrap().is_none());
    }

    #[test]
    fn what_was_not_flushed_is_read_again_after_a_reboot() {
        let dir = tempfile::tempdir().unwrap();
        let first = blobs(dir.path());
        let [torn, whole, flushed] = [&b"torn"[..], b"whole", b"flushed"].map(|bytes| first.put(bytes, false).unwrap());
        first.sync(&flushed).unwrap();
        for id in [torn, flushed] {
            let path = first.0.path(&id);
            let mode = fs::metadata(&path).unwrap().permissions();
            fs::remove_file(&path).unwrap();
            fs::write(&path, "????").unwrap();
            fs::set_permissions(&path, mode).unwrap();
        }
        drop(first);
        let same_boot = blobs(dir.path());
        assert!(same_boot.contains(&torn) || fs::metadata("/proc/sys/kernel/random/boot_id").is_err());
        drop(same_boot);
        fs::write(dir.path().join("boot"), "another boot\n").unwrap();
        let second = blobs(dir.path());
        assert!(!second.contains(&torn) && second.contains(&whole));
        // A flushed one is trusted (here wrongly: this test damaged it), so starting does not read everything.
        assert!(second.contains(&flushed));
        assert_eq!(second.bytes(), 5 + 4);
    }

    #[test]
    fn the_limit_holds_for_every_way_in() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            blob_bytes_max: Some(10),
        };
        let store = Store::open(dir.path(), options.clone()).unwrap();
        let blobs = store.blobs();
        let id = blobs.put(b"123456", false).unwrap();
        let full = |error: StoreError| {
            assert!(
                matches!(&error, StoreError::Full(text) if text.contains("blob_bytes_max is 10")),
                "{error}"
            );
        };
        full(blobs.put(b"abcde", false).unwrap_err());
        let mut upload = blobs.resume("key", 0).unwrap();
        full(StoreError::from_io("", upload.write_all(b"abcde").unwrap_err()));
        assert_eq!(blobs.kept("key"), 0);
        upload.write_all(b"abc").unwrap();
        full(blobs.partial(BlobId::of(b"12"), SegmentTree::of(b"12")).err().unwrap());
        drop(upload);
        drop(store);
        let store = Store::open(dir.path(), options).unwrap();
        let blobs = store.blobs();
        full(blobs.put(b"de", false).unwrap_err());
        blobs.put(b"123456", true).unwrap();
        blobs.discard("key").unwrap();
        let partial = blobs.partial(BlobId::of(b"1234"), SegmentTree::of(b"1234")).unwrap();
        full(blobs.put(b"d", false).unwrap_err());
        partial.discard().unwrap();
        let mut writer = blobs.writer().unwrap();
        writer.write_all(b"abcde").unwrap();
        full(writer.finish(false).unwrap_err());
        blobs.remove(&id).unwrap();
        blobs.put(b"1234567890", false).unwrap();
        assert_eq!(count_files(&dir.path().join("tmp")), 0);
    }
}
