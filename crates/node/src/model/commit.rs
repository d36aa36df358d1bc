//! The transaction of a turn, and the state of a task while the disk takes none.

use std::collections::BTreeMap;
use std::time::Duration;

use qres_store::{Store, StoreError, StoredSubmission, Write};
use qres_wire::clock;
use tracing::warn;

use super::batch::{Ready, Taken};
use super::task::{ModelTask, Stuck};
use crate::error::NodeError;
use crate::refusal::disk_full;

/// The time after which a failed transaction is tried again.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

impl ModelTask {
    /// Commits the writes of a turn, and returns them as the durable ones. `None` means that the disk takes nothing: the task is
    /// stuck, and the writes are in the batch again. A full disk stops the model, loses nothing and ends no process.
    pub(super) async fn commit(&mut self, mut ready: Ready) -> Option<Ready> {
        while !ready.writes.is_empty() {
            let batch = ready.writes.clone();
            let begun = clock::now();
            let committed = self.context.disk.blocking(move |store| store.commit(batch)).await;
            self.context.metrics.commit(clock::now() - begun, committed.is_ok());
            match committed {
                Ok(()) => break,
                Err(StoreError::Taken(_)) if self.remove_taken(&mut ready).await => {}
                Err(error) => {
                    self.stick(ready, error);
                    return None;
                }
            }
        }
        self.unstick();
        Some(ready)
    }

    /// Puts the writes back for the next try. The blobs of the submissions are named in [`ModelTask::unstored`], as no guard
    /// keeps them from the collector any more.
    fn stick(&mut self, ready: Ready, error: StoreError) {
        warn!(model = %self.model.spec().name, %error, "cannot store: the model waits and tries again");
        let mut refusal = NodeError::from(error).retry_after(10_000);
        refusal.message = format!(
            "the submission could not be stored ({}): send it again; should it be kept by then, the answer is the same",
            refusal.message
        );
        let blobs = self.batch.failed(ready, &refusal);
        self.unstored.lock().extend(blobs);
        if let Some(deferred) = self.deferred.take() {
            let _ = deferred.reply.send(Err(disk_full()));
        }
        let retry_at = tokio::time::Instant::now() + COMMIT_RETRY;
        self.stuck = Some(Stuck { refusal, retry_at });
    }

    fn unstick(&mut self) {
        if self.stuck.take().is_none() {
            return;
        }
        self.unstored.lock().clear();
        if std::mem::take(&mut self.missed) {
            // Records that were passed over count as refused by now, and would not be asked for.
            if let Some(joined) = self.model.joined() {
                joined.forget_refused();
            }
            self.context.syncer.request(self.model.id, vec![]);
        }
    }

    /// Removes the submissions whose place is taken from a turn. Returns false when there are none.
    async fn remove_taken(&mut self, ready: &mut Ready) -> bool {
        let writes = ready.writes.clone();
        let found = self.context.disk.blocking(move |store| taken(store, &writes)).await;
        let Ok(taken) = found else { return false };
        for (id, other) in &taken {
            warn!(model = %self.model.spec().name, submission = %id, taken_by = %other.id, "a submission's place is taken");
        }
        self.batch.remove(ready, &taken);
        !taken.is_empty()
    }
}

/// Returns the submissions of a transaction whose place another submission has, in the store or earlier in the transaction.
fn taken(store: &Store, writes: &[Write]) -> Result<Vec<Taken>, StoreError> {
    let mut places: BTreeMap<_, &StoredSubmission> = BTreeMap::new();
    let mut taken = vec![];
    for write in writes {
        let Write::Submission(stored) = write else { continue };
        let place = (stored.spec, &stored.trainer, stored.base);
        let holder = match places.get(&place) {
            Some(earlier) => Some((*earlier).clone()),
            None => store.submission_for(stored.spec, &stored.trainer, stored.base)?,
        };
        match holder.filter(|other| other.id != stored.id) {
            Some(other) => taken.push((stored.id, other)),
            None => _ = places.insert(place, stored),
        }
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{SpecId, SubmissionId};
    use qres_store::{KeyOutcome, StoreOptions, StoredKey};

    use super::super::batch::Batch;
    use super::*;
    use crate::tests::pending;

    #[test]
    fn a_submission_whose_place_is_taken_is_taken_out_with_its_key_and_the_rest_can_be_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let spec = SpecId([9; 32]);
        let by = |trainer: &str, n: u8| StoredSubmission {
            trainer: trainer.into(),
            ..pending(spec, n)
        };
        let key = |n: u8| {
            Write::Key(StoredKey {
                key: format!("k{n}"),
                request: [n; 32],
                outcome: KeyOutcome::Submission(SubmissionId([n; 32])),
                at_unix_ms: 0,
            })
        };
        store.commit(vec![Write::Submission(by("a", 1))]).unwrap();
        let mut batch = Batch::default();
        let writes = [
            Write::Submission(by("a", 2)),
            key(2),
            Write::Submission(by("b", 3)),
            key(3),
            Write::Submission(by("b", 4)),
            Write::Submission(by("a", 1)),
        ];
        writes.into_iter().for_each(|write| batch.write(write));
        let mut ready = batch.ready().unwrap();
        assert!(matches!(store.commit(ready.writes.clone()), Err(StoreError::Taken(_))));
        let found = taken(&store, &ready.writes).unwrap();
        let pairs: Vec<_> = found.iter().map(|(id, other)| (id.0[0], other.id.0[0])).collect();
        assert_eq!(pairs, [(2, 1), (4, 3)]);
        batch.remove(&mut ready, &found);
        store.commit(ready.writes).unwrap();
        assert!(store.key("k2").unwrap().is_none() && store.key("k3").unwrap().is_some());
    }
}
