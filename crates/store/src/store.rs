//! The store of a node: records and blobs below one data directory.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use qres_fed::id::{BlobId, CheckpointId, SpecId, SubmissionId};
use qres_fed::record::{Signed, Spec};
use qres_fed::round::{Archived, RecordId};

use super::database::Records;
use super::directory::Directory;
use super::reserve::Reserve;
use super::{
    Best, BlobStore, Blobs, Evaluation, HeardModel, ModelRecords, Owner, Quota, StoreError, StoredKey, StoredModel,
    StoredReleases, StoredState, StoredSubmission, SubmissionPage, Verdicts, Write, archive, entry, evaluation, expire,
    personal, query, table, value, verdict, write,
};

/// The settings of a [`Store`].
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Limit for the bytes of all blobs; new blobs above it are refused with [`StoreError::Full`].
    pub blob_bytes_max: Quota,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            blob_bytes_max: Quota::DEFAULT,
        }
    }
}

/// The store of a node. Cheap to clone. A data directory has one store at a time, which a lock file ensures.
#[derive(Clone)]
pub struct Store {
    records: Arc<Records>,
    /// Path of the file of records.
    file: Arc<Path>,
    blobs: BlobStore,
    reserve: Arc<Reserve>,
    /// For tests: true if every commit meets a full disk.
    full: Arc<std::sync::atomic::AtomicBool>,
}

impl Store {
    /// Opens `dir`, or makes it with mode 0700. Refuses a directory that is in use ([`StoreError::InUse`]) or of another
    /// format ([`StoreError::Newer`], [`StoreError::Older`]).
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let directory = Directory::open(dir)?;
        let reserve = directory.reserve();
        // Opening mends a database that was not closed, and so writes; on a full disk the reserve makes room for that.
        let room = reserve.clone();
        let file = dir.join("records.redb");
        let records = Records::open(&file, move || room.give_up())?;
        Ok(Self {
            records: Arc::new(records),
            file: Arc::from(file),
            reserve,
            blobs: BlobStore::take_over(directory, options.blob_bytes_max)?,
            full: Arc::default(),
        })
    }

    /// For tests: makes every commit from now on meet a full disk, or none.
    #[doc(hidden)]
    pub fn fill(&self, full: bool) {
        self.full.store(full, std::sync::atomic::Ordering::Relaxed);
    }

    /// Returns the blobs of every owner.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Returns the blobs of one owner.
    pub fn blobs_of(&self, owner: Owner) -> Blobs {
        self.blobs.of(owner)
    }

    /// Returns the bytes of the file of records; `None` when the system does not say.
    pub fn record_bytes(&self) -> Option<u64> {
        std::fs::metadata(&self.file).ok().map(|file| file.len())
    }

    /// Applies all changes in one transaction, which is durable when the call returns.
    ///
    /// After an error none of the changes is in, except after [`StoreError::Io`] and [`StoreError::Full`], when all of
    /// them may be: a disk that fails while flushing does not say. Committing the same changes again is then right, and
    /// does no harm.
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

    /// Does `work`. While the disk is full, makes room and does `work` again: first gives up spare files, then unfinished
    /// uploads. If `frees` is true (`work` itself frees room), the reserve goes last.
    pub(super) fn with_room<T>(&self, frees: bool, work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            match work() {
                Err(StoreError::Full(_)) if self.blobs.give_way() || (frees && self.reserve.give_up()) => {}
                done => return done,
            }
        }
    }

    /// Returns every model that was announced and is not joined.
    pub fn heard(&self) -> Result<Vec<HeardModel>, StoreError> {
        self.records.read(query::heard)
    }

    /// Returns every model whose spec is known, joined or not.
    pub fn models(&self) -> Result<Vec<StoredModel>, StoreError> {
        self.records.read(query::models)
    }

    /// Returns a spec that is known here, joined or not.
    pub fn spec(&self, spec: &SpecId) -> Result<Option<Signed<Spec>>, StoreError> {
        self.records.read(|tx| query::spec(tx, *spec))
    }

    /// Returns a model's records; they are empty when the model is not known.
    pub fn records(&self, spec: SpecId) -> Result<ModelRecords, StoreError> {
        self.records.read(|tx| query::records(tx, spec))
    }

    /// Returns those of the rounds that the archive has, ascending.
    pub fn archived(&self, spec: SpecId, rounds: RangeInclusive<u64>) -> Result<Vec<Archived>, StoreError> {
        self.records.read(|tx| archive::rounds(tx, spec, &rounds))
    }

    /// Returns the verdicts of checkpoints, each given with its round; `None` for one that this node has not computed, or that is
    /// in the archive.
    pub fn verdicts(&self, spec: SpecId, of: &[(u64, CheckpointId)]) -> Result<Vec<Option<Verdicts>>, StoreError> {
        let read = |tx: &_| {
            of.iter()
                .map(|(round, id)| verdict::read(tx, spec, *round, id))
                .collect()
        };
        self.records.read(read)
    }

    /// Returns what the rounds of these checkpoints measured, each given with its round; `None` where this node has no figures.
    pub fn evaluations(&self, spec: SpecId, of: &[(u64, CheckpointId)]) -> Result<Vec<Option<Evaluation>>, StoreError> {
        let read = |tx: &_| {
            of.iter()
                .map(|(round, id)| evaluation::read(tx, spec, *round, id))
                .collect()
        };
        self.records.read(read)
    }

    /// Returns the best checkpoints of a model, each with the place of its metric in the spec.
    pub fn best(&self, spec: SpecId) -> Result<Vec<(u8, Best)>, StoreError> {
        self.records.read(|tx| evaluation::best(tx, spec))
    }

    /// Returns the noisy updates that this node made, by model, also of models that it has left.
    pub fn releases(&self) -> Result<Vec<StoredReleases>, StoreError> {
        self.records.read(query::releases)
    }

    /// Returns the blob with a trainer's personal tensors; `None` while the trainer has none.
    pub fn personal(&self, spec: SpecId, trainer: &str) -> Result<Option<BlobId>, StoreError> {
        self.records.read(|tx| personal::read(tx, spec, trainer))
    }

    /// Returns the blobs with the personal tensors of all trainers of a model.
    pub fn all_personal(&self, spec: SpecId) -> Result<Vec<BlobId>, StoreError> {
        self.records.read(|tx| personal::all(tx, spec))
    }

    /// Returns round and id of the archived records of rounds later than `above`, the newest first. Whole rounds are
    /// added until there are `enough` ids.
    pub fn archived_ids(&self, spec: SpecId, above: u64, enough: usize) -> Result<Vec<(u64, RecordId)>, StoreError> {
        self.records.read(|tx| archive::ids_above(tx, spec, above, enough))
    }

    /// Returns the archived round that has this seal or proof.
    pub fn archived_with(&self, spec: SpecId, id: &RecordId) -> Result<Option<Archived>, StoreError> {
        self.records.read(|tx| archive::round_of(tx, spec, id))
    }

    /// Returns a submission; `None` when it is not known.
    pub fn submission(&self, id: SubmissionId) -> Result<Option<StoredSubmission>, StoreError> {
        self.records.read(|tx| query::submission(tx, id))
    }

    /// Returns the submission that holds the place of a trainer on a base; a rejected one holds none. Committing a second
    /// submission for that place fails with [`StoreError::Taken`].
    pub fn submission_for(
        &self,
        spec: SpecId,
        trainer: &str,
        base: CheckpointId,
    ) -> Result<Option<StoredSubmission>, StoreError> {
        self.records.read(|tx| query::submission_for(tx, spec, trainer, base))
    }

    /// Returns the submissions to a model that are not final.
    pub fn open_submissions(&self, spec: SpecId) -> Result<Vec<StoredSubmission>, StoreError> {
        self.records.read(|tx| query::open_submissions(tx, spec))
    }

    /// Returns a page of 1 to 1,000 submissions, of one model or of all, the newest first. A token that this store did
    /// not make is refused with [`StoreError::Token`].
    pub fn submissions(
        &self,
        spec: Option<SpecId>,
        token: Option<&str>,
        size: usize,
    ) -> Result<SubmissionPage, StoreError> {
        self.records.read(|tx| query::submissions(tx, spec, token, size))
    }

    /// Returns an idempotency key with its outcome; `None` when the key was not used or has expired.
    pub fn key(&self, key: &str) -> Result<Option<StoredKey>, StoreError> {
        let name = table::hashed(key);
        self.records
            .read(|tx| entry::get(tx, table::KEYS, &name, value::to_key))
    }

    /// Returns the states published under a model.
    pub fn states(&self, spec: SpecId) -> Result<Vec<StoredState>, StoreError> {
        self.records.read(|tx| query::states(tx, spec))
    }

    /// Returns the small value of this name.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.records.read(|tx| {
            let table = tx.open_table(table::META)?;
            Ok(table.get(name)?.map(|bytes| bytes.value().to_vec()))
        })
    }

    /// Removes the submissions that became final before this time (Unix ms; the caller gives 7 days ago), and the
    /// idempotency keys from before this time. A key whose submission is still here stays with it.
    pub fn expire(&self, before_unix_ms: u64) -> Result<(), StoreError> {
        self.with_room(true, || self.records.write(|tx| expire::expire(tx, before_unix_ms)))
    }
}

/// Returns true if a transaction frees room, at once or through the collection that follows it, or if it writes the few
/// bytes that a start needs ([`Write::Meta`]).
fn frees(writes: &[Write]) -> bool {
    let frees = |write: &Write| {
        matches!(
            write,
            Write::Leave(_) | Write::Forget(..) | Write::ForgetSpec(_) | Write::ForgetState { .. } | Write::Meta(..)
        )
    };
    writes.iter().any(frees)
}
