//! The store of a node: records in a transactional store (redb), tensors as content-addressed files.
//!
//! Plain synchronous types: callers on an async task go through a blocking pool. [`Store::commit`] returns once its
//! writes are durable; a crash at any instruction leaves a store that opens and keeps all commits.
//! `docs/adr/0004-store.md` gives the reasons for this design.
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
//! | `Submission`, `CarryPersonal` | the tensors that each trainer has for itself | `personal`, `all_personal` |
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
mod blob_file;
mod blob_store;
mod clock;
mod database;
mod directory;
mod entry;
mod error;
mod evaluation;
mod expire;
mod file;
mod guard;
mod hold;
mod owner;
mod partial;
mod partial_file;
mod personal;
mod query;
mod quota;
mod reader;
mod record;
mod reserve;
mod reusable;
mod room;
mod segment;
mod spare;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod unfinished;
mod upload;
mod usage;
#[doc(hidden)]
pub mod value;
mod verdict;
mod write;
mod writer;

pub use blob::Blobs;
pub use blob_file::BlobFile;
pub use blob_store::BlobStore;
pub use directory::{Examination, examine};
pub use error::{GuardError, StoreError};
pub use owner::Owner;
pub use partial::Partial;
pub use quota::{Quota, QuotaError};
pub use record::{
    Best, Evaluation, HeardModel, KeyOutcome, ModelRecords, StoredKey, StoredModel, StoredReleases, StoredState,
    StoredSubmission, SubmissionPage, Verdicts, Write,
};
pub use reserve::{ROOM_BYTES_MIN, free_bytes};
pub use reusable::ReusableFiles;
pub use segment::{SEGMENT_BYTES, SegmentTree};
pub use store::{Store, StoreOptions};
pub use usage::DiskUse;
pub use writer::BlobWriter;
