//! The transactional store of records.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{Contribution, ModelName, Proof, Seal, Signature, Signed, Spec};
use qres_fed::round::{Archived, Forgotten, RecordId, Root, SubmissionState};

use super::database::Records;
use super::directory::Directory;
use super::reserve::Reserve;
use super::{BlobStore, Blobs, Owner, Quota, StoreError, archive, expire, query, table, value, write};

/// Settings.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Refuse new blobs above this many bytes in all.
    pub blob_bytes_max: Quota,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            blob_bytes_max: Quota::DEFAULT,
        }
    }
}

/// A model as stored.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StoredModel {
    pub spec: Signed<Spec>,
    pub joined: bool,
}

/// A model that was announced and that nobody here joined; its spec is a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeardModel {
    pub id: SpecId,
    pub name: ModelName,
    pub creator: NodeId,
    /// Length of the spec's canonical bytes.
    pub spec_bytes: u64,
    /// The creator's, over them.
    pub signature: Signature,
    /// Who brought it.
    pub carrier: NodeId,
}

/// A submission as stored: everything an answer needs.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct StoredSubmission {
    pub id: SubmissionId,
    pub spec: SpecId,
    pub model: ModelName,
    pub trainer: String,
    pub base: CheckpointId,
    pub samples: u64,
    /// Already weights minus base.
    pub delta: bool,
    pub metrics: BTreeMap<String, f64>,
    /// The safetensors file, as the trainer sent it.
    pub blob: BlobId,
    pub bytes: u64,
    pub at_unix_ms: u64,
    /// Final since, Unix ms: kept 7 days from then.
    pub final_unix_ms: Option<u64>,
    pub state: SubmissionState,
    /// The trainer's call, W3C.
    pub traceparent: Option<String>,
}

impl StoredSubmission {
    /// It was not taken: its trainer may submit on the same base again.
    pub fn is_rejected(&self) -> bool {
        matches!(self.state, SubmissionState::Rejected { .. })
    }
}

/// What an idempotency key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyOutcome {
    Submission(SubmissionId),
    Model(SpecId),
}

/// An idempotency key, committed with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StoredKey {
    pub key: String,
    /// BLAKE3 of the request (header and content).
    pub request: [u8; 32],
    pub outcome: KeyOutcome,
    pub at_unix_ms: u64,
}

/// A published state as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StoredState {
    pub spec: SpecId,
    pub publisher: NodeId,
    pub name: String,
    pub sequence: u64,
    /// The whole signed envelope as received.
    pub envelope: Vec<u8>,
}

/// One change; a list of them is one transaction.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Write {
    /// A spec became known (not joined unless it is already).
    Spec(Signed<Spec>),
    /// A spec that is not joined, and in which nothing was signed here, is no longer known.
    ForgetSpec(SpecId),
    /// A model was announced.
    Heard(HeardModel),
    /// It is joined now, or had to make room.
    ForgetHeard(SpecId),
    Join(SpecId),
    /// Also forgets the model's records, states and the `Verified` marks; submissions stay.
    Leave(SpecId),
    Contribution(Signed<Contribution>),
    Seal(Signed<Seal>),
    Proof(SpecId, Proof),
    Verified(SpecId, CheckpointId),
    Submission(StoredSubmission),
    SubmissionState {
        id: SubmissionId,
        state: SubmissionState,
        final_unix_ms: Option<u64>,
    },
    Forget(SpecId, Forgotten),
    /// Rounds that are no longer in memory, and the oldest checkpoint that is.
    Archive(SpecId, Root, Vec<Archived>),
    /// This checkpoint and what stands above it in the archive are in memory again.
    Unarchive(SpecId, Root),
    Key(StoredKey),
    State(StoredState),
    ForgetState {
        spec: SpecId,
        publisher: NodeId,
        name: String,
        sequence: u64,
    },
    /// A small named value, e.g. `revision_ceiling`.
    Meta(&'static str, Vec<u8>),
}

/// A model's records, in any order.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct ModelRecords {
    pub contributions: Vec<Signed<Contribution>>,
    pub seals: Vec<Signed<Seal>>,
    pub proofs: Vec<Proof>,
    pub verified: BTreeSet<CheckpointId>,
    /// The oldest checkpoint in memory; `None` = checkpoint 0.
    pub root: Option<Root>,
}

/// A page of submissions, newest first.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct SubmissionPage {
    pub items: Vec<StoredSubmission>,
    pub next: Option<String>,
}

/// The store. Cheap to clone; a data directory has one at a time (a lock file says so).
#[derive(Clone)]
pub struct Store {
    records: Arc<Records>,
    blobs: BlobStore,
    reserve: Arc<Reserve>,
    /// The disk takes no records: for tests.
    full: Arc<std::sync::atomic::AtomicBool>,
}

impl Store {
    /// Opens or makes `dir` (0700); refuses one in use or of a newer format.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let directory = Directory::open(dir)?;
        let reserve = directory.reserve();
        // A database that was not closed is mended when it is opened, and then written to.
        let room = reserve.clone();
        let records = Records::open(&dir.join("records.redb"), move || room.give_up())?;
        Ok(Self {
            records: Arc::new(records),
            reserve,
            blobs: BlobStore::take_over(directory, options.blob_bytes_max)?,
            full: Arc::default(),
        })
    }

    /// From here on every commit meets a full disk, or none does: for tests.
    #[doc(hidden)]
    pub fn fill(&self, full: bool) {
        self.full.store(full, std::sync::atomic::Ordering::Relaxed);
    }

    /// The blobs of every owner.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// The blobs of one owner.
    pub fn blobs_of(&self, owner: Owner) -> Blobs {
        self.blobs.of(owner)
    }

    /// One transaction, durable when it returns.
    ///
    /// After an error nothing of it is in, except after [`StoreError::Io`] and [`StoreError::Full`], when all of it may be: a
    /// disk that fails while flushing does not say. Committing the same again is then right, and does no harm.
    pub fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::Full("a test".into()));
        }
        self.with_room(frees(&writes), || {
            self.records
                .write(|tx| writes.iter().try_for_each(|write| write::apply(tx, write)))
        })
    }

    /// Does `work`; on a full disk again with the room of what is less than records: spare files, unfinished uploads, and the
    /// reserve for what `frees` room itself.
    pub(super) fn with_room<T>(&self, frees: bool, work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            match work() {
                Err(StoreError::Full(_)) if self.blobs.give_way() || (frees && self.reserve.give_up()) => {}
                done => return done,
            }
        }
    }

    /// Every model that was announced and is not joined.
    pub fn heard(&self) -> Result<Vec<HeardModel>, StoreError> {
        self.records.read(query::heard)
    }

    /// Every model that is or was joined.
    pub fn models(&self) -> Result<Vec<StoredModel>, StoreError> {
        self.records.read(query::models)
    }

    /// A spec known here, joined or not.
    pub fn spec(&self, spec: &SpecId) -> Result<Option<Signed<Spec>>, StoreError> {
        self.records.read(|tx| query::spec(tx, *spec))
    }

    /// A model's records; none when it is not known.
    pub fn records(&self, spec: SpecId) -> Result<ModelRecords, StoreError> {
        self.records.read(|tx| query::records(tx, spec))
    }

    /// What the archive has of these rounds, ascending.
    pub fn archived(&self, spec: SpecId, rounds: RangeInclusive<u64>) -> Result<Vec<Archived>, StoreError> {
        self.records.read(|tx| archive::rounds(tx, spec, &rounds))
    }

    /// The ids of the archive's records of later rounds than this one, the newest first; rounds are added until there are `enough`.
    pub fn archived_ids(&self, spec: SpecId, above: u64, enough: usize) -> Result<Vec<(u64, RecordId)>, StoreError> {
        self.records.read(|tx| archive::ids_above(tx, spec, above, enough))
    }

    /// The archived round that has this seal or proof.
    pub fn archived_with(&self, spec: SpecId, id: &RecordId) -> Result<Option<Archived>, StoreError> {
        self.records.read(|tx| archive::round_of(tx, spec, id))
    }

    /// A submission.
    pub fn submission(&self, id: SubmissionId) -> Result<Option<StoredSubmission>, StoreError> {
        self.records.read(|tx| query::submission(tx, id))
    }

    /// By trainer and base: at most one that is not rejected. Committing a second is [`StoreError::Taken`].
    pub fn submission_for(
        &self,
        spec: SpecId,
        trainer: &str,
        base: CheckpointId,
    ) -> Result<Option<StoredSubmission>, StoreError> {
        self.records.read(|tx| query::submission_for(tx, spec, trainer, base))
    }

    /// Those that are not final.
    pub fn open_submissions(&self, spec: SpecId) -> Result<Vec<StoredSubmission>, StoreError> {
        self.records.read(|tx| query::open_submissions(tx, spec))
    }

    /// A page of submissions, of one model or of all, the newest first: 1 to 1,000. A token that is none of ours is
    /// [`StoreError::Token`].
    pub fn submissions(
        &self,
        spec: Option<SpecId>,
        token: Option<&str>,
        size: usize,
    ) -> Result<SubmissionPage, StoreError> {
        self.records.read(|tx| query::submissions(tx, spec, token, size))
    }

    /// What an idempotency key came to.
    pub fn key(&self, key: &str) -> Result<Option<StoredKey>, StoreError> {
        let name = table::hashed(key);
        self.records
            .read(|tx| query::get(tx, table::KEYS, &name, value::to_key))
    }

    /// The states published under a model.
    pub fn states(&self, spec: SpecId) -> Result<Vec<StoredState>, StoreError> {
        self.records.read(|tx| query::states(tx, spec))
    }

    /// A small named value.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.records.read(|tx| {
            let table = tx.open_table(table::META)?;
            Ok(table.get(name)?.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// Removes submissions final for longer than 7 days (given in Unix ms) and idempotency keys of that age. A key whose
    /// submission is still here stays with it.
    pub fn expire(&self, before_unix_ms: u64) -> Result<(), StoreError> {
        self.with_room(true, || self.records.write(|tx| expire::expire(tx, before_unix_ms)))
    }
}

/// Whether a transaction frees room, at once or by what is collected after it, or is a few bytes that a start needs.
fn frees(writes: &[Write]) -> bool {
    let frees = |write: &Write| {
        matches!(
            write,
            Write::Leave(_) | Write::Forget(..) | Write::ForgetSpec(_) | Write::ForgetState { .. } | Write::Meta(..)
        )
    };
    writes.iter().any(frees)
}
