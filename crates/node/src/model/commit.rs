//! The transaction of a batch, and the behaviour of a model while the disk takes none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use qres_fed::id::SubmissionId;
use qres_fed::round::Input;
use tokio::time::Instant;
use tracing::warn;

use crate::catalog::command::Message;
use crate::error::NodeError;
use crate::model::task::ModelTask;
use crate::service::submit;
use qres_mesh::Verdict;
use qres_store::{KeyOutcome, Store, StoreError, StoredSubmission, Write};

/// The time after which a failed transaction is tried again.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// A submission that cannot be stored, and the one that has its place.
type Taken = (SubmissionId, StoredSubmission);

impl ModelTask {
    /// Tries until the writes are durable: a full disk stops the model, loses nothing and ends no process. The writes of inputs
    /// that come meanwhile go into the same transaction, as their effects wait for it. Returns false when the task is stopping.
    pub(super) async fn commit(&mut self, mut writes: Vec<Write>) -> bool {
        loop {
            let batch = writes.clone();
            let begun = std::time::Instant::now();
            let committed = self.context.blocking(move |store| store.commit(batch)).await;
            self.context.metrics.commit(begun.elapsed(), committed.is_ok());
            let Err(error) = committed else {
                self.resume();
                return true;
            };
            if matches!(error, StoreError::Taken(_)) && self.drop_taken(&mut writes).await {
                continue;
            }
            warn!(model = %self.model.spec().name, %error, "cannot store: the model waits and tries again");
            let mut refused = NodeError::from(error).retry_after(10_000);
            refused.message = format!(
                "the submission could not be stored ({}): send it again; should it be kept by then, the answer is the same",
                refused.message
            );
            self.give_way(&refused);
            if !self.wait(&refused).await {
                return false;
            }
            writes.append(&mut self.writes);
        }
    }

    /// Lets the collector run, which alone can free space. The waiting callers are answered with `refused`, so no caller waits
    /// for this transaction any more, and the blobs of the submissions are named in [`ModelTask::unstored`] instead.
    fn give_way(&mut self, refused: &NodeError) {
        for (_, reply) in std::mem::take(&mut self.replies) {
            let _ = reply.send(Err(refused.clone()));
        }
        let blobs = self.submitted.values().map(|stored| stored.blob);
        self.unstored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(blobs);
        self.guards.clear();
        self.waiting = None;
    }

    fn resume(&mut self) {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if std::mem::take(&mut self.missed) {
            self.context.syncer.request(self.model.id, vec![]);
        }
    }

    /// Handles messages until the next try. Returns false when the task is stopping.
    async fn wait(&mut self, refused: &NodeError) -> bool {
        let (stop, until) = (self.stop.clone(), Instant::now() + COMMIT_RETRY);
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = tokio::time::sleep_until(until) => return true,
                message = self.inbox.recv() => message,
            };
            let Some(message) = message else { return false };
            self.take_while_stuck(message, refused).await;
        }
    }

    /// Answers questions and takes the results of jobs, so that no caller waits for the disk. The records of other nodes come
    /// again by sync.
    async fn take_while_stuck(&mut self, message: Message, refused: &NodeError) {
        match message {
            Message::Ask(question) => question(&self.machine),
            Message::Done {
                input,
                guard,
                traceparent,
            } => {
                self.done(input, traceparent);
                // From here on the machine names the blob.
                drop(guard);
            }
            Message::Arrived(blob) => self.arrived(blob),
            Message::Unread(blob) => self.unread(blob),
            Message::Submit(request) => _ = request.reply.send(Err(refused.clone())),
            Message::Gossip { token, .. } => {
                self.missed = true;
                self.context.mesh.report(token, Verdict::Ignore).await;
            }
            Message::Inputs(inputs) => {
                for input in inputs {
                    // Unstored records would pile up as long as the disk is full.
                    if matches!(input, Input::Contribution(_) | Input::Seal(_) | Input::Proof(_)) {
                        self.missed = true;
                    } else {
                        self.input(input);
                    }
                }
            }
        }
    }

    /// Removes from a batch the submissions whose place is taken, as no waiting would make room for them. The machine finds
    /// them gone when it merges. Returns false when there are none.
    async fn drop_taken(&mut self, writes: &mut Vec<Write>) -> bool {
        let batch = writes.clone();
        let found = self.context.blocking(move |store| taken(store, &batch)).await;
        let Ok(taken) = found else { return false };
        let gone: BTreeSet<_> = taken.iter().map(|(id, _)| *id).collect();
        writes.retain(|write| !is_about(write, &gone));
        for (id, other) in &taken {
            warn!(model = %self.model.spec().name, submission = %id, taken_by = %other.id, "a submission's place is taken");
            self.submitted.remove(id);
            for at in (0..self.replies.len()).rev() {
                if self.replies[at].0 == *id {
                    let (_, reply) = self.replies.swap_remove(at);
                    let _ = reply.send(Err(submit::already(other)));
                }
            }
        }
        !taken.is_empty()
    }
}

/// Returns the submissions of a batch whose place another submission has, in the store or earlier in the batch.
fn taken(store: &Store, batch: &[Write]) -> Result<Vec<Taken>, StoreError> {
    let mut places: BTreeMap<_, &StoredSubmission> = BTreeMap::new();
    let mut taken = vec![];
    for write in batch {
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

fn is_about(write: &Write, submissions: &BTreeSet<SubmissionId>) -> bool {
    match write {
        Write::Submission(stored) => submissions.contains(&stored.id),
        Write::SubmissionState { id, .. } => submissions.contains(id),
        Write::Key(key) => matches!(&key.outcome, KeyOutcome::Submission(id) if submissions.contains(id)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::SpecId;

    use super::*;
    use crate::tests::pending;
    use qres_store::{StoreOptions, StoredKey};

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
        let mut batch = vec![
            Write::Submission(by("a", 2)),
            key(2),
            Write::Submission(by("b", 3)),
            key(3),
            Write::Submission(by("b", 4)),
            Write::Submission(by("a", 1)),
        ];
        assert!(matches!(store.commit(batch.clone()), Err(StoreError::Taken(_))));
        let found = taken(&store, &batch).unwrap();
        let pairs: Vec<_> = found.iter().map(|(id, other)| (id.0[0], other.id.0[0])).collect();
        assert_eq!(pairs, [(2, 1), (4, 3)]);
        let gone = found.iter().map(|(id, _)| *id).collect();
        batch.retain(|write| !is_about(write, &gone));
        store.commit(batch).unwrap();
        assert!(store.key("k2").unwrap().is_none() && store.key("k3").unwrap().is_some());
    }
}
