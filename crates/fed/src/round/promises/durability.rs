//! Acknowledged work is in the chain, or the node gives an answer for it.

use crate::id::SubmissionId;
use crate::record::Report;
use crate::round::stage::{Stage, members, spec};
use crate::round::{Config, Input, Output, Persist, SubmissionState};

fn two_trainers() -> Stage {
    let stage = Stage::new(spec(members(3), 2));
    let config = Config {
        trainers: 2,
        ..stage.config.clone()
    };
    Stage::with(stage.spec.clone(), config, stage.disk.clone(), stage.now)
}

fn encodes(stage: &Stage) -> Vec<Vec<SubmissionId>> {
    let jobs = stage.said.iter().filter_map(|o| match o {
        Output::Encode(job) => Some(job.submissions.iter().map(|item| item.id).collect()),
        _ => None,
    });
    jobs.collect()
}

#[test]
fn two_trainers_are_merged_into_one_contribution() {
    let mut stage = two_trainers();
    let one = stage.submit_on(stage.head(), "one");
    assert!(encodes(&stage).is_empty(), "the other is waited for");
    let two = stage.submit_on(stage.head(), "two");
    let mut both = vec![one, two];
    both.sort_unstable();
    assert_eq!(encodes(&stage), [both]);
    assert_eq!(stage.signed_contributions()[0].samples, 20);
    assert_eq!(stage.state(one), stage.state(two));
}

#[test]
fn what_is_here_is_merged_at_the_margin_before_the_deadline() {
    let mut stage = two_trainers();
    stage.submit_on(stage.head(), "one");
    stage.pass(899);
    assert!(encodes(&stage).is_empty());
    stage.pass(1);
    assert_eq!(encodes(&stage).len(), 1, "100 ms before the second is over");
}

#[test]
fn an_operator_who_ends_the_waiting_ends_this_too() {
    let mut stage = two_trainers();
    stage.submit_on(stage.head(), "one");
    stage.feed(Input::SealNow);
    assert_eq!(encodes(&stage).len(), 1);
}

#[test]
fn a_trainer_that_went_silent_is_waited_for_once() {
    let mut stage = two_trainers();
    for round in 1..5 {
        stage.submit_on(stage.head(), "one");
        if round == 1 {
            stage.submit_on(stage.head(), "two");
        }
        stage.pass(if round == 2 { 900 } else { 0 });
        assert_eq!(encodes(&stage).len(), round);
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
}

#[test]
fn one_trainer_does_not_count_twice() {
    let mut stage = two_trainers();
    let one = stage.submit_on(stage.head(), "one");
    let again = stage.submit_on(stage.head(), "one");
    assert!(encodes(&stage).is_empty());
    assert!(matches!(stage.state(one), SubmissionState::Superseded { .. }));
    assert_eq!(stage.state(again), SubmissionState::Pending);
}

#[test]
fn a_submission_survives_a_crash_at_any_moment() {
    let mut stage = two_trainers();
    let one = stage.submit_on(stage.head(), "one");
    let mut again = stage.restart();
    assert_eq!(again.state(one), SubmissionState::Pending);
    again.submit_on(again.head(), "two");
    assert!(matches!(again.state(one), SubmissionState::Merged { .. }));
    let mut again = again.restart();
    assert!(matches!(again.state(one), SubmissionState::Merged { .. }));
    again.hear(2);
    again.hear(3);
    again.pass(1_000);
    assert!(matches!(
        again.state(one),
        SubmissionState::Sealed { confirmed: false, .. }
    ));
    again.hear(2);
    again.hear(3);
    assert!(matches!(
        again.state(one),
        SubmissionState::Sealed { confirmed: true, .. }
    ));
}

#[test]
fn an_envelope_is_never_signed_anew() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    let mut again = stage.restart();
    let late = again.submit_on(again.head(), "other");
    assert!(matches!(again.state(late), SubmissionState::Rejected { .. }));
    assert!(again.signed_contributions().is_empty());
    // A node that lost its disk hears of its own contribution from a peer, while it codes another one.
    let own = stage.signed_contributions().remove(0);
    let mut empty = Stage::new(spec(members(3), 2));
    empty.feed(Input::Contribution(super::super::stage::signed(own.clone())));
    let refused = empty.submit();
    assert!(matches!(empty.state(refused), SubmissionState::Rejected { .. }));
    assert!(empty.signed_contributions().is_empty());
}

#[test]
fn what_is_being_merged_is_answered_for_when_a_peer_brings_back_an_envelope_for_its_base() {
    let mut stage = Stage::new(spec(members(3), 2));
    let head = stage.head();
    let submission = crate::round::Submission {
        id: SubmissionId([1; 32]),
        trainer: "one".into(),
        base: head,
        samples: 1,
        report: Report::default(),
    };
    // The submission goes to the machine alone, so that the encoding stays under way.
    stage.machine.handle(Input::Submission(submission), stage.now);
    let own = stage.contribution(1, head, 1, 9);
    stage.machine.handle(Input::Contribution(own), stage.now);
    let state = stage.state(SubmissionId([1; 32]));
    assert!(
        matches!(&state, SubmissionState::Rejected { reason } if reason.contains("already contributed")),
        "{state:?}"
    );
    let encoded = Input::Encoded {
        parent: head,
        update: crate::id::BlobId([5; 32]),
        update_bytes: 4,
        samples: 1,
        fidelity: 1.0,
        releases: 0,
    };
    let outputs = stage.machine.handle(encoded, stage.now);
    assert!(!outputs.iter().any(|o| matches!(o, Output::Sign(_))), "{outputs:?}");
}

#[test]
fn what_came_during_a_merge_that_came_too_late_is_answered_for() {
    let mut spec = spec(members(3), 2);
    spec.rounds.max_staleness = 0;
    let mut stage = Stage::new(spec);
    let base = stage.head();
    let submit = |n: u8| {
        Input::Submission(crate::round::Submission {
            id: SubmissionId([n; 32]),
            trainer: format!("trainer {n}"),
            base,
            samples: 1,
            report: Report::default(),
        })
    };
    // The submissions go to the machine alone, so that the encoding stays under way.
    stage.machine.handle(submit(1), stage.now);
    stage.machine.handle(submit(2), stage.now);
    let others = [stage.hear(2), stage.hear(3)];
    stage.sealed_by(2, &others);
    stage.feed(Input::Encoded {
        parent: base,
        update: crate::id::BlobId([5; 32]),
        update_bytes: 4,
        samples: 1,
        fidelity: 1.0,
        releases: 0,
    });
    for n in [1, 2] {
        let state = stage.state(SubmissionId([n; 32]));
        assert!(matches!(state, SubmissionState::Rejected { .. }), "{n}: {state:?}");
    }
    assert!(stage.signed_contributions().is_empty());
}

#[test]
fn what_is_durable_comes_before_what_is_sent() {
    let mut stage = Stage::new(spec(members(1), 1));
    let machine = &mut stage.machine;
    let head = machine.head().id;
    let submission = crate::round::Submission {
        id: SubmissionId([1; 32]),
        trainer: "one".into(),
        base: head,
        samples: 1,
        report: Report::default(),
    };
    machine.handle(Input::Submission(submission), stage.now);
    let outputs = machine.handle(
        Input::Encoded {
            parent: head,
            update: crate::id::BlobId([5; 32]),
            update_bytes: 4,
            samples: 1,
            fidelity: 1.0,
            releases: 0,
        },
        stage.now,
    );
    let Some(Output::Sign(crate::round::Unsigned::Contribution(c))) = outputs.first().cloned() else {
        panic!("{outputs:?}")
    };
    let outputs = machine.handle(Input::SignedContribution(super::super::stage::signed(c)), stage.now);
    let last_persist = outputs.iter().rposition(|o| matches!(o, Output::Persist(_))).unwrap();
    let sent = outputs
        .iter()
        .position(|o| matches!(o, Output::SendContribution(_)))
        .unwrap();
    assert!(last_persist < sent);
    let merged = |o: &Output| {
        matches!(
            o,
            Output::Persist(Persist::Submission(_, SubmissionState::Merged { .. }))
        )
    };
    assert!(
        outputs[..=last_persist].iter().any(merged),
        "in the same transaction as the contribution"
    );
}

#[test]
fn those_at_fault_are_rejected_and_the_others_tried_again() {
    let mut stage = two_trainers();
    let head = stage.head();
    // The stage answers `Encode` by itself, so these submissions go to the machine alone.
    let submit = |trainer: &str, n: u8| {
        Input::Submission(crate::round::Submission {
            id: SubmissionId([n; 32]),
            trainer: trainer.into(),
            base: head,
            samples: 1,
            report: Report::default(),
        })
    };
    stage.machine.handle(submit("one", 1), stage.now);
    stage.machine.handle(submit("two", 2), stage.now);
    let failed = Input::EncodeFailed {
        parent: head,
        submissions: vec![SubmissionId([1; 32])],
        reason: "tensor w is not finite".into(),
    };
    let outputs = stage.machine.handle(failed, stage.now);
    let state = stage.state(SubmissionId([1; 32]));
    assert_eq!(
        state,
        SubmissionState::Rejected {
            reason: "tensor w is not finite".into()
        }
    );
    assert_eq!(stage.state(SubmissionId([2; 32])), SubmissionState::Pending);
    let unusable = |stage: &Stage, trainer| stage.machine.unusable(trainer, &head);
    assert_eq!(unusable(&stage, "one").as_deref(), Some("tensor w is not finite"));
    assert_eq!((unusable(&stage, "two"), stage.machine.unusable_count()), (None, 1));
    assert!(
        outputs.iter().any(|o| matches!(o, Output::WakeAt(Some(_)))),
        "it waits for another, at most to the margin"
    );
    // Other work of the trainer stands in the place of the rejected one.
    stage.machine.handle(submit("one", 3), stage.now);
    assert_eq!(unusable(&stage, "one"), None);
}

#[test]
fn work_that_only_came_too_late_for_its_base_is_not_called_unusable() {
    let mut stage = Stage::new(spec(members(3), 2));
    let base = stage.head();
    stage.submit();
    let late = stage.submit_on(base, "other");
    assert!(matches!(stage.state(late), SubmissionState::Rejected { .. }));
    assert_eq!(
        (stage.machine.unusable("other", &base), stage.machine.unusable_count()),
        (None, 0)
    );
}

#[test]
fn a_base_that_is_unknown_is_refused_with_the_remedy() {
    let mut stage = Stage::new(spec(members(3), 2));
    let id = stage.submit_on(crate::id::CheckpointId([3; 32]), "one");
    match stage.state(id) {
        SubmissionState::Rejected { reason } => {
            assert!(reason.contains("fetch the head and train from it"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}
