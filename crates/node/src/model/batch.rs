//! The turn of a model's task as a value: the writes that must be durable first, then the answers and the effects.

use std::collections::{BTreeMap, BTreeSet};

use qres_fed::id::{BlobId, SubmissionId};
use qres_fed::round::{Output, SubmissionState};
use qres_store::{KeyOutcome, StoredKey, StoredSubmission, Write};
use tokio::sync::{OwnedRwLockReadGuard, oneshot};

use crate::catalog::command::Question;
use crate::error::NodeError;
use crate::refusal;
use crate::view::SubmissionView;

/// The way back to a caller that has submitted.
pub type Reply = oneshot::Sender<Result<SubmissionView, NodeError>>;

/// A submission that cannot be stored, and the one that has its place.
pub type Taken = (SubmissionId, StoredSubmission);

/// The work of a turn that is collected until one transaction makes it durable.
#[derive(Default)]
pub struct Batch {
    writes: Vec<Write>,
    effects: Vec<Output>,
    /// Callers to answer after the transaction that stores their submissions.
    replies: Vec<(SubmissionId, Reply)>,
    /// The submissions of the turn, as they stand.
    submitted: BTreeMap<SubmissionId, StoredSubmission>,
    changed: BTreeSet<SubmissionId>,
    /// Questions of other nodes, to answer when the writes are durable.
    questions: Vec<Question>,
    /// Guards of new blobs, which keep the collector away until the writes refer to the blobs.
    guards: Vec<OwnedRwLockReadGuard<()>>,
}

/// The writes of a turn, taken out of the [`Batch`] to be committed.
#[derive(Debug)]
pub struct Ready {
    /// The writes of the transaction, in their order; none if the turn has only effects and answers.
    pub writes: Vec<Write>,
}

/// The answers and effects of a turn whose writes are durable.
pub struct Done {
    /// The callers, each with the submission that is theirs.
    pub answers: Vec<(Reply, SubmissionView)>,
    /// Questions of other nodes: all that the machine holds is durable now.
    pub questions: Vec<Question>,
    /// The effects, in the order in which the machine asked for them.
    pub effects: Vec<Output>,
}

impl Batch {
    /// Adds a write to the transaction.
    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    /// Adds an effect, to be carried out after the transaction.
    pub fn effect(&mut self, output: Output) {
        self.effects.push(output);
    }

    /// Keeps the guard of a new blob until the transaction refers to the blob.
    pub fn hold(&mut self, guard: OwnedRwLockReadGuard<()>) {
        self.guards.push(guard);
    }

    /// Adds a question of another node, to be answered after the transaction.
    pub fn ask(&mut self, question: Question) {
        self.questions.push(question);
    }

    /// Adds a new submission with its key; its caller is answered after the transaction.
    pub fn admit(&mut self, stored: StoredSubmission, key: Option<StoredKey>, reply: Reply) {
        self.writes.push(Write::Submission(stored.clone()));
        self.changed.insert(stored.id);
        self.answer(stored, key, reply);
    }

    /// Answers a caller with a submission that was taken before, and stores the key that names it now.
    pub fn answer(&mut self, stored: StoredSubmission, key: Option<StoredKey>, reply: Reply) {
        self.writes.extend(key.map(Write::Key));
        self.replies.push((stored.id, reply));
        self.submitted.insert(stored.id, stored);
    }

    /// Adds the new state of a submission, final since `final_unix_ms` if it is final.
    pub fn state(&mut self, id: SubmissionId, state: SubmissionState, final_unix_ms: Option<u64>) {
        self.changed.insert(id);
        if let Some(stored) = self.submitted.get_mut(&id) {
            stored.state = state.clone();
        }
        self.writes.push(Write::SubmissionState {
            id,
            state,
            final_unix_ms,
        });
    }

    /// Returns true if this batch has a submission of the trainer and base of `stored`, its key, or a new state of `stored`
    /// itself: this batch must be stored before the store can tell how `stored` stands.
    pub fn clashes(&self, stored: &StoredSubmission, key: Option<&StoredKey>) -> bool {
        let same_place = |s: &StoredSubmission| s.trainer == stored.trainer && s.base == stored.base;
        let same_key = |write: &Write| matches!((write, key), (Write::Key(a), Some(b)) if a.key == b.key);
        let changes = self.changed.contains(&stored.id);
        changes || self.submitted.values().any(same_place) || self.writes.iter().any(same_key)
    }

    /// Takes the writes out, to be committed; `None` when the turn has nothing left to do.
    pub fn ready(&mut self) -> Option<Ready> {
        let answered = self.replies.is_empty() && self.questions.is_empty();
        let idle = answered && self.writes.is_empty() && self.effects.is_empty() && self.guards.is_empty();
        (!idle).then(|| Ready {
            writes: std::mem::take(&mut self.writes),
        })
    }

    /// Ends a turn whose writes are durable, and lets the collector run: a guard kept any longer would stop the collector, and
    /// with it every upload and job behind it.
    pub fn done(&mut self, _durable: Ready) -> Done {
        self.guards.clear();
        debug_assert!(self.writes.is_empty(), "writes that are not durable");
        debug_assert!(self.answers_are_stored(), "an answer without its submission");
        let replies = std::mem::take(&mut self.replies).into_iter();
        let answers = replies.filter_map(|(id, reply)| Some((reply, SubmissionView::of(self.submitted.get(&id)?))));
        Done {
            answers: answers.collect(),
            questions: std::mem::take(&mut self.questions),
            effects: std::mem::take(&mut self.effects),
        }
    }

    /// The invariant of the answers: each is about a submission of this batch.
    fn answers_are_stored(&self) -> bool {
        self.replies.iter().all(|(id, _)| self.submitted.contains_key(id))
    }

    /// Puts the writes back, before those that have come since. Lets the collector run, which alone can free space, and refuses
    /// the waiting callers. Returns the blobs of the submissions that are not stored yet.
    pub fn failed(&mut self, ready: Ready, refusal: &NodeError) -> Vec<BlobId> {
        let since = std::mem::replace(&mut self.writes, ready.writes);
        self.writes.extend(since);
        self.guards.clear();
        self.questions.clear();
        for (_, reply) in std::mem::take(&mut self.replies) {
            // Sending fails only if the caller has gone.
            let _ = reply.send(Err(refusal.clone()));
        }
        let blobs = |stored: &StoredSubmission| [Some(stored.blob), stored.personal].into_iter().flatten();
        self.submitted.values().flat_map(blobs).collect()
    }

    /// Removes submissions whose place is taken from a turn, as no waiting would make room for them, and refuses their callers.
    /// The machine finds the submissions gone when it merges.
    pub fn remove(&mut self, ready: &mut Ready, taken: &[Taken]) {
        let gone: BTreeSet<_> = taken.iter().map(|(id, _)| *id).collect();
        ready.writes.retain(|write| !is_about(write, &gone));
        for (id, other) in taken {
            self.submitted.remove(id);
            for (_, reply) in self.replies.extract_if(.., |(replied, _)| replied == id) {
                let _ = reply.send(Err(refusal::already(other)));
            }
        }
    }

    /// Ends the batch, and returns the submissions that changed in it: those of this batch as they stand, of the others `None`.
    pub fn end(&mut self) -> Vec<(SubmissionId, Option<StoredSubmission>)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let mut submitted = std::mem::take(&mut self.submitted);
        changed.map(|id| (id, submitted.remove(&id))).collect()
    }
}

/// Returns true if a write is about one of these submissions.
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
    use crate::error::Reason;
    use crate::tests::pending;

    fn key(n: u8) -> StoredKey {
        StoredKey {
            key: format!("k{n}"),
            request: [n; 32],
            outcome: KeyOutcome::Submission(SubmissionId([n; 32])),
            at_unix_ms: 0,
        }
    }

    fn submitted(batch: &mut Batch, n: u8) -> oneshot::Receiver<Result<SubmissionView, NodeError>> {
        let (reply, answer) = oneshot::channel();
        batch.admit(pending(SpecId([9; 32]), n), Some(key(n)), reply);
        answer
    }

    #[test]
    fn callers_are_answered_and_effects_let_out_only_when_the_writes_are_durable() {
        let mut batch = Batch::default();
        assert!(batch.ready().is_none());
        let mut answer = submitted(&mut batch, 1);
        batch.effect(Output::RoundChanged);
        let ready = batch.ready().expect("a submission to store");
        assert_eq!(ready.writes.len(), 2, "the submission and its key: {:?}", ready.writes);
        assert!(answer.try_recv().is_err());
        let done = batch.done(ready);
        assert_eq!(done.effects, [Output::RoundChanged]);
        for (reply, view) in done.answers {
            reply.send(Ok(view)).expect("the caller waits");
        }
        assert_eq!(answer.try_recv().unwrap().unwrap().id, SubmissionId([1; 32]));
        assert!(batch.ready().is_none());
        let changed = batch.end();
        assert_eq!(changed.len(), 1);
        assert!(changed[0].1.is_some() && batch.end().is_empty());
    }

    #[test]
    fn a_failed_turn_loses_no_write_and_refuses_its_callers() {
        let mut batch = Batch::default();
        let mut answer = submitted(&mut batch, 1);
        batch.effect(Output::RoundChanged);
        let ready = batch.ready().unwrap();
        batch.state(SubmissionId([7; 32]), SubmissionState::Pending, None);
        let full = NodeError::new(Reason::DiskFull, "full");
        assert_eq!(batch.failed(ready, &full), [BlobId([1; 32])]);
        assert_eq!(answer.try_recv().unwrap().unwrap_err().reason, Reason::DiskFull);
        let again = batch.ready().expect("the same writes");
        assert!(matches!(
            again.writes[..],
            [Write::Submission(_), Write::Key(_), Write::SubmissionState { .. }]
        ));
        let done = batch.done(again);
        assert!(done.answers.is_empty());
        assert_eq!(done.effects, [Output::RoundChanged], "effects wait for the writes");
    }

    #[test]
    fn a_submission_whose_place_is_taken_goes_with_its_key_and_its_caller_learns_by_which() {
        let mut batch = Batch::default();
        let (mut gone, mut stays) = (submitted(&mut batch, 2), submitted(&mut batch, 3));
        let mut ready = batch.ready().unwrap();
        batch.remove(&mut ready, &[(SubmissionId([2; 32]), pending(SpecId([9; 32]), 1))]);
        assert_eq!(ready.writes.len(), 2);
        assert_eq!(gone.try_recv().unwrap().unwrap_err().reason, Reason::BaseSubmitted);
        assert!(stays.try_recv().is_err(), "its caller waits for the transaction");
        assert_eq!(batch.done(ready).answers.len(), 1);
    }

    #[test]
    fn submissions_of_one_place_or_key_wait_for_each_other() {
        let mut batch = Batch::default();
        let _answer = submitted(&mut batch, 1);
        let first = pending(SpecId([9; 32]), 1);
        let other = pending(SpecId([9; 32]), 2);
        assert!(batch.clashes(&first, None), "one trainer and base");
        assert!(!batch.clashes(&other, Some(&key(2))));
        assert!(batch.clashes(&other, Some(&key(1))), "one key");
        batch.state(other.id, SubmissionState::Pending, None);
        assert!(batch.clashes(&other, None), "its own new state is not stored yet");
    }
}
