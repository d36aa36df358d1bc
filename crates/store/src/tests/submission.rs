//! Tests of submissions, their pages and idempotency keys.

use std::collections::BTreeMap;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, SpecId, SubmissionId};
use qres_fed::record::Report;
use qres_fed::round::SubmissionState;

use super::super::*;
use super::{open, spec};

/// Returns submission `number` of a trainer, at the time `number` in Unix ms.
pub(super) fn submission(spec: SpecId, trainer: &str, number: u64) -> StoredSubmission {
    StoredSubmission {
        id: SubmissionId::of(format!("{trainer} {number}").as_bytes()),
        spec,
        model: "m/1".parse().unwrap(),
        trainer: trainer.to_owned(),
        base: CheckpointId::of(&number.to_le_bytes()),
        samples: 10,
        delta: false,
        metrics: BTreeMap::from([("loss".to_owned(), 0.5), ("worst".to_owned(), f64::INFINITY)]),
        report: Report::default(),
        blob: BlobId::of(b"weights"),
        bytes: 7,
        personal: None,
        at_unix_ms: number,
        final_unix_ms: None,
        state: SubmissionState::Pending,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    }
}

#[test]
fn a_submission_has_its_place_until_it_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = spec("m").record.id();
    let first = submission(id, "t", 1);
    let mut second = submission(id, "t", 2);
    second.base = first.base;
    store.commit(vec![Write::Submission(first.clone())]).unwrap();
    assert_eq!(store.submission(first.id).unwrap().as_ref(), Some(&first));
    assert_eq!(
        store.submission_for(id, "t", first.base).unwrap().as_ref(),
        Some(&first)
    );
    assert_eq!(store.submission_for(id, "u", first.base).unwrap(), None);
    store.commit(vec![Write::Submission(first.clone())]).unwrap();

    let taken = store.commit(vec![Write::Meta("x", vec![1]), Write::Submission(second.clone())]);
    assert!(matches!(taken, Err(StoreError::Taken(holder)) if holder == first.id));
    assert_eq!(store.meta("x").unwrap(), None, "nothing of a refused transaction is in");

    let rejected = Write::SubmissionState {
        id: first.id,
        state: SubmissionState::Rejected {
            reason: "not finite".to_owned(),
        },
        final_unix_ms: Some(50),
    };
    store.commit(vec![rejected, Write::Submission(second.clone())]).unwrap();
    assert_eq!(
        store.submission_for(id, "t", first.base).unwrap().as_ref(),
        Some(&second)
    );
    assert_eq!(store.open_submissions(id).unwrap(), [second.clone()]);
    let merged = SubmissionState::Merged {
        contribution: ContributionId([4; 32]),
    };
    let unknown = Write::SubmissionState {
        id: SubmissionId([9; 32]),
        state: merged.clone(),
        final_unix_ms: None,
    };
    // The head swings back: the first submission is merged after all. The second one keeps its place.
    let back = Write::SubmissionState {
        id: first.id,
        state: merged.clone(),
        final_unix_ms: None,
    };
    store.commit(vec![unknown, back]).unwrap();
    assert_eq!(store.submission(first.id).unwrap().unwrap().state, merged);
    assert_eq!(
        store.submission_for(id, "t", first.base).unwrap().unwrap().id,
        second.id
    );
    assert_eq!(store.open_submissions(id).unwrap().len(), 2);
}

#[test]
fn every_state_reads_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = spec("m").record.id();
    let mut submitted = submission(id, "t", 1);
    let reason = "for people".to_owned();
    for (state, final_unix_ms) in [
        (SubmissionState::Pending, None),
        (
            SubmissionState::Merged {
                contribution: ContributionId([1; 32]),
            },
            None,
        ),
        (
            SubmissionState::Sealed {
                checkpoint: CheckpointId([1; 32]),
                weight_ppm: 7,
                confirmed: true,
                settled: true,
            },
            Some(3),
        ),
        (SubmissionState::Carried { round: u64::MAX }, None),
        (SubmissionState::Rejected { reason: reason.clone() }, Some(u64::MAX)),
        (SubmissionState::Superseded { reason }, Some(0)),
    ] {
        submitted.state = state;
        submitted.final_unix_ms = final_unix_ms;
        store.commit(vec![Write::Submission(submitted.clone())]).unwrap();
        assert_eq!(store.submission(submitted.id).unwrap().as_ref(), Some(&submitted));
        assert_eq!(
            store.open_submissions(id).unwrap().len(),
            usize::from(final_unix_ms.is_none())
        );
    }
    submitted.metrics.insert("nan".to_owned(), f64::NAN);
    store.commit(vec![Write::Submission(submitted.clone())]).unwrap();
    assert!(store.submission(submitted.id).unwrap().unwrap().metrics["nan"].is_nan());
}

#[test]
fn pages_go_from_the_newest_to_the_oldest_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (one, two) = (spec("one").record.id(), spec("two").record.id());
    // Two submissions have the same millisecond: their ids decide the order.
    let all: Vec<_> = (0..10)
        .flat_map(|at| [submission(one, "a", at), submission(two, "b", at)])
        .collect();
    store
        .commit(all.iter().cloned().map(Write::Submission).collect())
        .unwrap();
    for (filter, size) in [(None, 7), (None, 20), (Some(one), 3), (Some(two), 10), (Some(one), 1)] {
        let mut expected: Vec<_> = all
            .iter()
            .filter(|s| filter.is_none_or(|f| s.spec == f))
            .cloned()
            .collect();
        expected.sort_by_key(|s| std::cmp::Reverse((s.at_unix_ms, s.id)));
        let (mut got, mut token) = (Vec::new(), None);
        loop {
            let page = store.submissions(filter, token.as_deref(), size).unwrap();
            assert!(page.items.len() == size || page.next.is_none());
            got.extend(page.items);
            // A submission that comes meanwhile is newer, and stays out of the pages that follow.
            store
                .commit(vec![Write::Submission(submission(SpecId([9; 32]), "c", 1000))])
                .unwrap();
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        got.retain(|s| s.trainer != "c");
        assert_eq!(got, expected, "{filter:?} by {size}");
    }
    for bad in ["", "x", "00", "0".repeat(81).as_str(), "é"] {
        let error = store.submissions(None, Some(bad), 5).unwrap_err();
        assert!(matches!(&error, StoreError::Token(token) if token == bad), "{error}");
    }
    assert_eq!(store.submissions(Some(SpecId([8; 32])), None, 5).unwrap().items, []);
}

#[test]
fn keys_live_as_long_as_what_they_came_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = spec("m").record.id();
    let (mut done, open_) = (submission(id, "a", 1), submission(id, "b", 1));
    done.blob = BlobId::of(b"alone");
    let mut shared = submission(id, "c", 1);
    shared.final_unix_ms = Some(99);
    done.final_unix_ms = Some(100);
    let key = |key: &str, outcome, at_unix_ms| {
        Write::Key(StoredKey {
            key: key.to_owned(),
            request: [3; 32],
            outcome,
            at_unix_ms,
        })
    };
    store
        .commit(vec![
            Write::Submission(done.clone()),
            Write::Submission(open_.clone()),
            Write::Submission(shared.clone()),
            key("done", KeyOutcome::Submission(done.id), 1),
            key("open", KeyOutcome::Submission(open_.id), 1),
            key("model", KeyOutcome::Model(id), 100),
        ])
        .unwrap();
    let there = |name| store.key(name).unwrap().is_some();
    // The submission that is final at 99 is gone with everything before 100; the one that is final at 100 is not.
    store.expire(100).unwrap();
    assert!(store.submission(shared.id).unwrap().is_none() && store.submission(done.id).unwrap().is_some());
    assert!(there("done") && there("open") && there("model"));
    assert_eq!(store.key("model").unwrap().unwrap().outcome, KeyOutcome::Model(id));
    store.expire(101).unwrap();
    assert!(!there("done") && there("open") && !there("model"));
    assert_eq!(
        store.submissions(None, None, 10).unwrap().items,
        std::slice::from_ref(&open_)
    );
    store.expire(u64::MAX).unwrap();
    assert!(there("open"));
    assert_eq!(store.submission_for(id, "a", done.base).unwrap(), None);
}
