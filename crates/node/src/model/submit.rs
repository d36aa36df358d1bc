//! The way of a submission into the task of its model: the task compares it with the stored ones, then stores it in the
//! transaction of the batch.

use qres_fed::round::{Input, Submission};
use qres_store::{KeyOutcome, Store, StoreError, StoredKey, StoredSubmission};

use super::task::ModelTask;
use crate::catalog::command::SubmitRequest;
use crate::error::NodeError;
use crate::refusal::{already, base_refused, ended, key_taken};

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
        return SubmissionCheck::Refused(key_taken(&given.key));
    }
    match (earlier.same, earlier.on_base) {
        (Some(same), _) if known || !same.is_rejected() => SubmissionCheck::Again(Box::new(same)),
        (_, Some(other)) if other.id != stored.id => SubmissionCheck::Refused(already(&other)),
        _ => SubmissionCheck::New,
    }
}

impl ModelTask {
    /// Adds a submission to the batch, or answers with the reason why not. One that must be compared with another of the batch
    /// waits until the batch is stored.
    pub(super) async fn submit(&mut self, request: Box<SubmitRequest>) {
        if let Some(stuck) = &self.stuck {
            // Sending fails only if the caller has gone, here and below.
            let _ = request.reply.send(Err(stuck.refusal.clone()));
            return;
        }
        if self.batch.clashes(&request.stored, request.key.as_ref()) {
            self.deferred = Some(request);
            return;
        }
        let (stored, key) = (request.stored.clone(), request.key.clone());
        let looked = self
            .context
            .disk
            .blocking(move |store| look(store, &stored, key.as_ref()));
        let check = match looked.await {
            Ok(earlier) => {
                let known = self.machine.submissions().contains_key(&request.stored.id);
                judge(&request.stored, request.key.as_ref(), earlier, known)
            }
            Err(error) => SubmissionCheck::Refused(error.into()),
        };
        match check {
            SubmissionCheck::Again(earlier) => self.batch.answer(*earlier, request.key, request.reply),
            SubmissionCheck::Refused(error) => _ = request.reply.send(Err(error)),
            SubmissionCheck::New => self.take_new(*request),
        }
    }

    /// Adds a submission that was not seen before, if its base is taken.
    fn take_new(&mut self, request: SubmitRequest) {
        let SubmitRequest {
            stored,
            key,
            guard,
            reply,
        } = request;
        // An upload may have begun before the model ended.
        if let Some(end) = self.machine.succession() {
            let _ = reply.send(Err(ended(&end.successor)));
            return;
        }
        if let Err(error) = self.machine.check_base(&stored.base) {
            self.feed(Input::TrainerHere(stored.trainer));
            let _ = reply.send(Err(base_refused(error)));
            return;
        }
        self.effects.traces.submitted(stored.id, stored.traceparent.clone());
        let input = Input::Submission(Submission {
            id: stored.id,
            trainer: stored.trainer.clone(),
            base: stored.base,
            samples: stored.samples,
            report: stored.report.clone(),
        });
        self.batch.hold(guard);
        self.batch.admit(stored, key, reply);
        self.feed(input);
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{SpecId, SubmissionId};
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
