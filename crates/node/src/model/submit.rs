//! The way of a submission into the task of its model: the task compares it with the stored ones, then stores it in the
//! transaction of the batch.

use qres_fed::id::SubmissionId;
use qres_fed::round::Input;
use tokio::sync::{OwnedRwLockReadGuard, oneshot};

use crate::error::{NodeError, Reason};
use crate::model::task::ModelTask;
use crate::service::submit;
use crate::view::SubmissionView;
use qres_store::{KeyOutcome, Store, StoreError, StoredKey, StoredSubmission, Write};

/// A submission that is to be stored and acknowledged.
pub struct SubmitRequest {
    /// The submission to store.
    pub stored: StoredSubmission,
    /// The idempotency key that is committed together with the submission.
    pub key: Option<StoredKey>,
    /// Keeps the blob from the collector until the submission is stored.
    pub guard: OwnedRwLockReadGuard<()>,
    /// Takes the answer once the submission is durable or refused.
    pub reply: oneshot::Sender<Result<SubmissionView, NodeError>>,
}

/// Records of the [`Store`] that bear on a new submission.
#[derive(Default)]
struct Earlier {
    same: Option<StoredSubmission>,
    on_base: Option<StoredSubmission>,
    key: Option<StoredKey>,
}

/// The relation of a new submission to the earlier ones.
enum SubmissionCheck {
    /// The submission was not seen before.
    New,
    /// The same submission was taken before.
    Again(Box<StoredSubmission>),
    /// The submission cannot be taken, for the reason in the error.
    Refused(NodeError),
}

fn look(store: &Store, stored: &StoredSubmission, key: Option<&StoredKey>) -> Result<Earlier, StoreError> {
    Ok(Earlier {
        same: store.submission(stored.id)?,
        on_base: store.submission_for(stored.spec, &stored.trainer, stored.base)?,
        key: key.map(|key| store.key(&key.key)).transpose()?.flatten(),
    })
}

/// Compares a submission with the [`Earlier`] ones. `known` is true if the machine knows its id. A rejected submission that the
/// machine has forgotten (for example because the model was left and joined again) is taken anew.
fn judge(stored: &StoredSubmission, key: Option<&StoredKey>, earlier: Earlier, known: bool) -> SubmissionCheck {
    if let (Some(given), Some(taken)) = (key, &earlier.key)
        && (taken.request != given.request || taken.outcome != KeyOutcome::Submission(stored.id))
    {
        return SubmissionCheck::Refused(submit::key_taken(&given.key));
    }
    match (earlier.same, earlier.on_base) {
        (Some(same), _) if known || !same.is_rejected() => SubmissionCheck::Again(Box::new(same)),
        (_, Some(other)) if other.id != stored.id => SubmissionCheck::Refused(submit::already(&other)),
        _ => SubmissionCheck::New,
    }
}

/// Returns the error [`Reason::DiskFull`] for a submission that waited for an earlier one while the disk was full.
fn gave_way() -> NodeError {
    let message = "the disk is full, and this submission waited for it: send it again";
    NodeError::new(Reason::DiskFull, message).retry_after(10_000)
}

impl ModelTask {
    /// Stores a submission in the transaction of the batch, or answers with the reason why not.
    pub(super) async fn submit(&mut self, request: SubmitRequest) {
        let SubmitRequest {
            stored,
            key,
            guard,
            reply,
        } = request;
        // The submissions of one batch must see each other: the first is stored before the second is looked at.
        let guard = if self.clashes(&stored, key.as_ref()) {
            self.waiting = Some(guard);
            self.settle().await;
            self.waiting.take()
        } else {
            Some(guard)
        };
        let Some(guard) = guard else {
            let _ = reply.send(Err(gave_way()));
            return;
        };
        let (wanted, wanted_key) = (stored.clone(), key.clone());
        let looked = self
            .context
            .blocking(move |store| look(store, &wanted, wanted_key.as_ref()))
            .await;
        let standing = match looked {
            Ok(earlier) => {
                let known = self.machine.submissions().contains_key(&stored.id);
                judge(&stored, key.as_ref(), earlier, known)
            }
            Err(error) => SubmissionCheck::Refused(error.into()),
        };
        let refusal = match standing {
            SubmissionCheck::Again(earlier) => {
                self.writes.extend(key.map(Write::Key));
                self.submitted.insert(earlier.id, *earlier);
                self.replies.push((stored.id, reply));
                return;
            }
            SubmissionCheck::Refused(error) => Some(error),
            SubmissionCheck::New => {
                let fault = self.machine.check_base(&stored.base).err();
                if fault.is_some() {
                    self.feed(Input::TrainerHere(stored.trainer.clone()));
                }
                fault.map(submit::base_refused)
            }
        };
        if let Some(error) = refusal {
            // Sending fails only if the caller has gone.
            let _ = reply.send(Err(error));
            return;
        }
        self.guards.push(guard);
        self.admit(stored, key, reply);
    }

    fn clashes(&self, stored: &StoredSubmission, key: Option<&StoredKey>) -> bool {
        let same_place = |s: &StoredSubmission| s.trainer == stored.trainer && s.base == stored.base;
        let same_key = |write: &Write| matches!((write, key), (Write::Key(a), Some(b)) if a.key == b.key);
        self.submitted.values().any(same_place) || self.writes.iter().any(same_key)
    }

    fn admit(
        &mut self,
        stored: StoredSubmission,
        key: Option<StoredKey>,
        reply: oneshot::Sender<Result<SubmissionView, NodeError>>,
    ) {
        let id: SubmissionId = stored.id;
        self.writes.push(Write::Submission(stored.clone()));
        self.writes.extend(key.map(Write::Key));
        self.replies.push((id, reply));
        self.traces.submitted(id, stored.traceparent.clone());
        let input = Input::Submission(qres_fed::round::Submission {
            id,
            trainer: stored.trainer.clone(),
            base: stored.base,
            samples: stored.samples,
        });
        self.changed.push(id);
        self.submitted.insert(id, stored);
        self.feed(input);
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::SpecId;
    use qres_fed::round::SubmissionState;

    use super::*;
    use crate::tests::pending;

    fn submission(id: u8, state: SubmissionState) -> StoredSubmission {
        StoredSubmission {
            state,
            trainer: "t".into(),
            ..pending(SpecId([1; 32]), id)
        }
    }

    fn key(id: u8) -> StoredKey {
        StoredKey {
            key: "k".into(),
            request: [id; 32],
            outcome: KeyOutcome::Submission(SubmissionId([id; 32])),
            at_unix_ms: 0,
        }
    }

    fn rejected() -> SubmissionState {
        SubmissionState::Rejected { reason: "r".into() }
    }

    #[test]
    fn the_same_again_gets_the_same_answer_and_another_is_refused() {
        let new = submission(7, SubmissionState::Pending);
        assert!(matches!(
            judge(&new, None, Earlier::default(), false),
            SubmissionCheck::New
        ));
        let same = || Earlier {
            same: Some(submission(7, SubmissionState::Pending)),
            on_base: Some(submission(7, SubmissionState::Pending)),
            key: None,
        };
        assert!(matches!(judge(&new, None, same(), false), SubmissionCheck::Again(_)));
        let other = Earlier {
            on_base: Some(submission(8, SubmissionState::Pending)),
            ..Earlier::default()
        };
        let SubmissionCheck::Refused(error) = judge(&new, None, other, false) else {
            panic!("a second, different one is refused")
        };
        assert_eq!(error.reason.name(), "BASE_SUBMITTED");
    }

    #[test]
    fn a_rejected_one_is_answered_as_it_stands_unless_it_was_forgotten() {
        let new = submission(7, SubmissionState::Pending);
        let earlier = || Earlier {
            same: Some(submission(7, rejected())),
            ..Earlier::default()
        };
        // The machine ignores an id that it knows: a submission taken anew would stay pending for ever.
        let SubmissionCheck::Again(answer) = judge(&new, None, earlier(), true) else {
            panic!("known")
        };
        assert_eq!(answer.state, rejected());
        assert!(matches!(judge(&new, None, earlier(), false), SubmissionCheck::New));
    }

    #[test]
    fn a_key_stands_for_one_request() {
        let new = submission(7, SubmissionState::Pending);
        let taken = |id| Earlier {
            key: Some(key(id)),
            ..Earlier::default()
        };
        assert!(matches!(
            judge(&new, Some(&key(7)), taken(7), false),
            SubmissionCheck::New
        ));
        let SubmissionCheck::Refused(error) = judge(&new, Some(&key(7)), taken(8), false) else {
            panic!("another request's key")
        };
        assert_eq!(error.reason.name(), "KEY_TAKEN");
    }
}
