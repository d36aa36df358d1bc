//! The errors of the store.

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

/// Reason why a data directory is refused.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GuardError {
    #[error(
        "{path} has mode {mode:04o}: other users of this machine may write to it, and what is in it is this node's identity and \
         weights. Run `chmod {wanted} {path}`, or name another --data-dir (in a container: a directory below the volume)"
    )]
    Mode {
        path: PathBuf,
        mode: u32,
        wanted: &'static str,
    },
    #[error(
        "{path} belongs to user {owner}, and this qres-daemon runs as user {user}: run `chown -R {user} {path}`, or name another \
         --data-dir"
    )]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error(
        "{path} is a symbolic link: links inside a data directory are not followed. Remove the link; to keep the data on another \
         disk, name a --data-dir there"
    )]
    Link { path: PathBuf },
    #[error("{path} is no {wanted}: move it away, the node makes its own")]
    Kind { path: PathBuf, wanted: &'static str },
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
    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Full(_) | Self::UploadQuota { .. } => ErrorKind::StorageFull,
            Self::Io { error, .. } => error.kind(),
            _ => ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}
