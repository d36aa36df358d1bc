//! The store of a node: records in a transactional store (redb), tensors as content-addressed files.
//!
//! Plain synchronous types: callers on an async task go through a blocking pool. [`Store::commit`] returns once its writes are
//! durable; a crash at any instruction leaves a store that opens and keeps all commits. `docs/adr/0004-store.md` gives the
//! reasons for this design.
//!
//! ```text
//! crate node: commits and queries               crates node and transfer: blobs
//!    │ Vec<Write>         ▲ records                │ writer, put, partial     ▲ open
//!    ▼                    │                        ▼                          │
//!  Store: one transaction for each commit        BlobStore ── Blobs (of one Owner) ── BlobWriter, Partial, BlobFile
//!    │                                             │ counts the bytes of blobs against the Quota
//!    ▼                                             ▼
//!  records.redb                                  blobs/  uploads/  partial/  tmp/
//! ```
//!
//! The writes of a commit, and the calls that read them back:
//!
//! | [`Write`] | subject | read with |
//! | --- | --- | --- |
//! | `Spec`, `ForgetSpec`, `Join`, `Leave`, `Heard`, `ForgetHeard` | models: known, joined, announced | `models`, `heard` |
//! | `Contribution`, `Seal`, `Proof`, `Verified`, `Forget` | the records that a round machine holds | `records` |
//! | `Archive`, `Unarchive` | rounds that are no longer in memory | `archived`, `archived_ids`, `archived_with` |
//! | `Submission`, `SubmissionState`, `Key` | work of trainers; idempotency keys | `submission`, `submissions`, `key` |
//! | `State`, `ForgetState` | published states | `states` |
//! | `Meta` | a small value under a name | `meta` |
//!
//! A blob is stored before a record names it:
//!
//! ```text
//! let store = Store::open(&dir, StoreOptions::default())?;
//! let update = store.blobs_of(Owner::Model(spec)).put(&bytes, true)?;      // true: flushed to the disk
//! store.commit(vec![Write::Contribution(signed), state_of_submission])?;   // both writes, or none of them
//! ```
//!
//! Invariants:
//!
//! - A blob's name is the BLAKE3 of its bytes. A file gets that name only when it is whole. A blob that was not flushed is
//!   checked again at the start after a power cut.
//! - A blob is found only under an [`Owner`] under which it was put or shared ([`Blobs::share`]).
//! - All writes may be done again without harm: after an error the caller commits the same list again.
//! - A full disk loses nothing that was committed. Spare files and unfinished uploads make room first; the reserve is kept for
//!   transactions that free room.
//! - One process at a time uses a data directory (a lock file ensures that).
//! - The store knows no references between records and blobs: its caller decides which blobs are removed.
//!
//! The data directory:
//!
//! ```text
//! lock  format  boot                       whose it is, its version, the boot in which it was last opened
//! records.redb                             the records
//! blobs/<owner>/abcd…  blobs/…/abcd….seg   a blob; the chaining values of its segments when it has more than one
//! uploads/<blake3 of the key>              what is kept of an upload with a key
//! partial/<owner>-abcd…  .tree  .hint      a blob that arrives in segments
//! tmp/                                     emptied at the start
//! reserve                                  room for the transactions that free a full disk
//! ```

mod archive;
mod blob;
mod blob_store;
mod database;
mod directory;
mod expire;
mod file;
mod guard;
mod owner;
mod partial;
mod query;
mod quota;
mod reader;
mod record;
mod reserve;
mod room;
mod segment;
mod spare;
mod table;
#[cfg(test)]
mod tests;
mod unfinished;
mod upload;
mod usage;
#[doc(hidden)]
pub mod value;
mod write;
mod writer;

pub use blob::{BlobFile, Blobs};
pub use blob_store::BlobStore;
pub use guard::GuardError;
pub use owner::Owner;
pub use partial::Partial;
pub use quota::{Quota, QuotaError};
pub use record::{
    HeardModel, KeyOutcome, ModelRecords, Store, StoreOptions, StoredKey, StoredModel, StoredState, StoredSubmission,
    SubmissionPage, Write,
};
pub use segment::{SEGMENT_BYTES, SegmentTree};
pub use spare::ReusableFiles;
pub use usage::DiskUse;
pub use writer::BlobWriter;

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use qres_fed::id::{BlobId, SubmissionId};
use rustix::io::Errno;

/// Error of the store.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum StoreError {
    #[error(
        "data directory {0} is in use by another qres-daemon: give this one its own with --data-dir (and --port, --grpc-addr)"
    )]
    InUse(PathBuf),
    #[error(
        "data directory {path} has format {found}, this qres-daemon knows up to {known}: upgrade it, or use another --data-dir"
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error(
        "data directory {path} has format {found}, from before the first release; this qres-daemon reads format {known}: start \
         with another --data-dir, and copy identity.key there to stay the same node"
    )]
    Older { path: PathBuf, found: u32, known: u32 },
    #[error(transparent)]
    Guard(#[from] GuardError),
    #[error("data directory {path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("the disk is full ({0}): free some space; nothing that was acknowledged is lost")]
    Full(String),
    #[error(
        "unfinished uploads with an idempotency_key may take {limit} bytes in all (a quarter of blob_bytes_max), {kept} are kept \
         and {asked} more are asked for: finish the others, send this one without a key, or raise --blob-bytes-max"
    )]
    UploadQuota { asked: u64, kept: u64, limit: u64 },
    #[error(
        "{0} uploads with an idempotency_key are under way, as many as are kept at a time: finish some, or send this one without a \
         key"
    )]
    UploadsKept(usize),
    #[error("the store is damaged: {0}")]
    Damaged(String),
    #[error("offset {given} is past what is kept: {kept} bytes")]
    Offset { given: u64, kept: u64 },
    #[error("page token {0:?} is none of ours: give the one from the page before, or none for the first page")]
    Token(String),
    #[error("this trainer has submission {0} on this base already: one that is not rejected is all it may have")]
    Taken(SubmissionId),
    #[error("another stream goes on with this upload: ask how much is kept, and go on from there")]
    Overtaken,
    #[error("blob {id} in segments: {problem}")]
    Partial { id: BlobId, problem: String },
}

impl StoreError {
    /// Turns an I/O error at `path` into an error of the store. A full disk is [`StoreError::Full`], a link that is not
    /// followed is [`StoreError::Guard`]; a [`StoreError`] that went through an [`io::Write`] is unwrapped again.
    pub fn from_io(path: impl Into<PathBuf>, error: io::Error) -> Self {
        let path = path.into();
        let error = match error.downcast::<Self>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        // The kernel's error for `O_NOFOLLOW` on a link.
        if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            return GuardError::Link { path }.into();
        }
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(format!("{}: {error}", path.display())),
            _ => Self::Io { path, error },
        }
    }

    /// Wraps the error for its way through an [`io::Write`]; [`StoreError::from_io`] unwraps it.
    fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Full(_) | Self::UploadQuota { .. } => ErrorKind::StorageFull,
            Self::Io { error, .. } => error.kind(),
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}
