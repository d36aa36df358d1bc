//! What a node remembers: records in a transactional store (redb), tensors as content-addressed files.
//!
//! Plain synchronous types: callers on an async task go through a blocking pool. `commit` returns once its writes are
//! durable; a crash at any instruction leaves a store that opens and keeps what was committed.

mod blob;
mod partial;
mod record;
mod segment;

pub use blob::{BlobFile, BlobWriter, Blobs};
pub use partial::Partial;
pub use record::{
    KeyOutcome, ModelRecords, Store, StoreOptions, StoredKey, StoredModel, StoredState, StoredSubmission,
    SubmissionPage, Write,
};
pub use segment::{SEGMENT_BYTES, SegmentTree};

use std::path::PathBuf;

use qres_fed::id::SubmissionId;

/// Why the store cannot do it.
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
    #[error("data directory {path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("the disk is full ({0}): free some space; nothing that was acknowledged is lost")]
    Full(String),
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
}
