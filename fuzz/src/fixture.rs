//! The things that readers need beside the bytes: a store, an identity, a runtime.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use qres_fed::id::{BlobId, SpecId};
use qres_store::{Owner, SEGMENT_BYTES, Store, StoreOptions};
use qres_wire::identity::Identity;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Id of the model that the blobs belong to.
pub const SPEC: SpecId = SpecId([7; 32]);

/// Store, identity and runtime for the targets. They are the same every time, so that an input does the same every time.
pub struct Fixture {
    /// The identity that signs the records that only their author may send.
    pub identity: Identity,
    /// The store, which holds [`Self::small`] and [`Self::large`].
    pub store: Store,
    /// Id of the blob of one segment.
    pub small: BlobId,
    /// Id of the blob of two segments.
    pub large: BlobId,
    /// The runtime on which streams are read.
    pub runtime: Runtime,
    dir: TempDir,
}

impl Fixture {
    /// Makes a fixture in a directory of its own, which is removed together with the fixture.
    ///
    /// # Panics
    /// When the machine has no room for it.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("qres-fuzz-")
            .tempdir()
            .expect("a temporary directory");
        let store = Store::open(&dir.path().join("data"), StoreOptions::default()).expect("a store");
        let blobs = store.blobs_of(Owner::Model(SPEC));
        let put = |bytes: &[u8]| blobs.put(bytes, false).expect("a blob");
        let (small, large) = (put(&small_bytes()), put(&large_bytes()));
        let identity = identity(&dir.path().join("key"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .expect("a runtime");
        Self {
            identity,
            store,
            small,
            large,
            runtime,
            dir,
        }
    }

    /// Returns the directory in which a target may write files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the bytes of the blob of one segment.
pub fn small_bytes() -> Vec<u8> {
    b"a blob of one segment".to_vec()
}

/// Returns the bytes of the blob of two segments: one byte more than a segment.
pub fn large_bytes() -> Vec<u8> {
    vec![7; usize::try_from(SEGMENT_BYTES).expect("a segment fits into memory") + 1]
}

fn identity(path: &Path) -> Identity {
    let file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(&[42; 32])).expect("a key");
    Identity::load_or_create(path).expect("an identity")
}
