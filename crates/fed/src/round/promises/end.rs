//! A run ends where its spec says, on every node, and its last checkpoint is confirmed without work.

use crate::id::{CheckpointId, ContributionId};
use crate::record::{BlobRole, End, Goal, Measured, Metric, MetricTarget, Report};
use crate::round::stage::{Stage, deliver, members, node, records_of, signed, spec};
use crate::round::{BaseError, Input, Refusal, SubmissionState};

/// A list of three members whose run ends with round 2.
fn two_rounds() -> Stage {
    let mut spec = spec(members(3), 2);
    spec.end.max_rounds = Some(2);
    Stage::new(spec)
}

/// A list of five members whose run ends when a quorum measures a loss of 0.5 or lower.
fn until_half() -> Stage {
    let mut spec = spec(members(5), 3);
    spec.metrics = vec![Metric {
        name: "loss".into(),
        goal: Goal::Lowest,
    }];
    spec.end = End {
        max_rounds: None,
        target: Some(MetricTarget {
            metric: "loss".into(),
            value: 0.5,
        }),
    };
    Stage::new(spec)
}

/// Feeds a contribution of a member on the head that says this loss.
fn hear(stage: &mut Stage, by: u8, loss: Option<f64>) -> ContributionId {
    let mut c = stage.contribution(by, stage.head(), stage.round() + 1, 0).record;
    c.report = Report {
        steps: None,
        metrics: vec![loss.map(|value| Measured { value, samples: 9 })],
    };
    let id = c.id();
    stage.feed(Input::Contribution(signed(c)));
    id
}

fn round(stage: &mut Stage) -> CheckpointId {
    let fresh = [stage.hear(2), stage.hear(3)];
    stage.sealed_by(2, &fresh)
}

/// Lets two other members close rounds on the head until the run is complete here. Returns the number of rounds.
fn close(stage: &mut Stage) -> u64 {
    let before = stage.round();
    while !stage.machine.is_complete() {
        let content = stage.machine.head().content;
        let own = stage.signed_contributions().last().map(|c| c.id());
        let fresh: Vec<_> = [stage.hear(2), stage.hear(3)].into_iter().chain(own).collect();
        if stage.machine.is_complete() {
            break;
        }
        let mut seal = stage.seal(2, stage.head(), stage.round() + 1, &fresh, &[]).record;
        seal.result = content;
        stage.feed(Input::Seal(signed(seal)));
        assert!(stage.round() < before + 4, "it comes to an end");
    }
    stage.round() - before
}

#[test]
fn after_the_last_round_members_vote_until_it_is_settled() {
    let mut stage = two_rounds();
    round(&mut stage);
    assert_eq!(stage.signed_contributions(), []);
    let last = round(&mut stage);
    let computed = stage.aggregations();
    let votes = stage.signed_contributions();
    assert_eq!(votes.len(), 1, "a vote, though no trainer works here");
    assert_eq!((votes[0].parent, votes[0].round, votes[0].samples), (last, 3, 1));
    assert!(!stage.machine.is_complete(), "one of three stands on it");
    let late = stage.submit();
    let complete = BaseError::Complete(2);
    let reason = complete.to_string();
    assert_eq!(stage.state(late), SubmissionState::Rejected { reason });
    assert_eq!(stage.machine.check_base(&last), Err(complete));
    let weights = stage.machine.head().content;
    assert_eq!(close(&mut stage), 1, "the votes of the round after settle it");
    let end = stage.machine.last_checkpoint().unwrap();
    assert_eq!((end.id, end.round, end.confirmed), (last, 2, true));
    assert_eq!(stage.machine.head().content, weights, "a closing round changes nothing");
    assert!(stage.machine.round(3).unwrap().closing && !stage.machine.round(2).unwrap().closing);
    assert_eq!(stage.aggregations(), computed, "and computes nothing");
    // From here on no more is voted or sealed, however long it lasts.
    let (round, signed) = (stage.round(), stage.signed_contributions().len());
    stage.pass(60_000);
    assert_eq!((stage.round(), stage.signed_contributions().len()), (round, signed));
    let again = stage.restart();
    assert_eq!(again.machine.last_checkpoint().unwrap().id, last);
    assert_eq!(again.signed_contributions(), []);
}

/// A k below the quorum lets one member seal: a liar could go on for ever.
#[test]
fn a_closing_round_without_a_quorum_of_votes_is_refuted() {
    let mut spec = spec(members(5), 1);
    spec.end.max_rounds = Some(1);
    let mut stage = Stage::new(spec);
    let fresh = [stage.hear(2)];
    let last = stage.sealed_by(2, &fresh);
    let content = stage.machine.head().content;
    for votes in [&[3][..], &[3, 4]] {
        let fresh: Vec<_> = votes.iter().map(|by| stage.hear(*by)).collect();
        let mut seal = stage.seal(3, last, 2, &fresh, &[]).record;
        seal.result = content;
        stage.feed(Input::Seal(signed(seal)));
        assert_eq!(stage.head(), last, "{votes:?}");
    }
    assert_eq!(stage.refusals(), [(node(3), Refusal::Fault); 2]);
}

/// Nodes that have found the update bad refuse the round, so the others must not take it before they have looked.
#[test]
fn a_closing_round_with_a_bad_update_is_refuted() {
    let mut stage = two_rounds();
    round(&mut stage);
    let last = round(&mut stage);
    let content = stage.machine.head().content;
    let bad = stage.contribution(3, last, 3, 0);
    let update = bad.record.update;
    stage.withheld.insert(update);
    let mut fresh = [stage.contribution(2, last, 3, 0).record.id(), bad.record.id()];
    fresh.sort_unstable();
    let mut seal = stage.seal(2, last, 3, &fresh, &[]).record;
    seal.result = content;
    let refuted = seal.checkpoint().id();
    stage.feed(Input::Seal(signed(seal)));
    stage.feed(Input::Contribution(bad));
    stage.hear(2);
    assert_eq!(stage.head(), last, "the update is not here yet");
    let role = BlobRole::Update;
    stage.feed(Input::BlobBad { blob: update, role });
    // Where this node is the first sealer it has closed the round by now, without the bad update.
    assert_ne!(stage.head(), refuted);
    assert_eq!(stage.refusals(), [(node(3), Refusal::Fault), (node(2), Refusal::Fault)]);
}

#[test]
fn a_closing_round_that_changes_the_weights_is_refuted() {
    let mut stage = two_rounds();
    round(&mut stage);
    round(&mut stage);
    let content = stage.machine.head().content;
    let fresh = [stage.hear(2), stage.hear(3)];
    let refuted = stage.sealed_by(2, &fresh);
    // Where this node is the first sealer it has closed the round by now, with the same weights.
    assert_ne!(stage.head(), refuted);
    assert_eq!(stage.machine.head().content, content);
    assert_eq!(stage.refusals(), [(node(2), Refusal::Fault)]);
}

#[test]
fn work_that_no_round_takes_any_more_is_rejected_when_the_run_ends() {
    let mut stage = two_rounds();
    let work = stage.submit();
    round(&mut stage);
    assert!(matches!(stage.state(work), SubmissionState::Carried { .. }));
    round(&mut stage);
    close(&mut stage);
    let SubmissionState::Rejected { reason } = stage.state(work) else {
        panic!("{:?}", stage.state(work));
    };
    assert!(reason.contains("the run ended"), "{reason}");
}

#[test]
fn a_quorum_that_measures_enough_ends_the_run_and_no_liar_does() {
    let mut stage = until_half();
    let values = |stage: &mut Stage, losses: [f64; 3]| {
        let mut fresh = vec![];
        for (by, loss) in (2..).zip(losses) {
            fresh.push(hear(stage, by, Some(loss)));
        }
        stage.sealed_by(2, &fresh)
    };
    values(&mut stage, [-1e30, 0.7, 0.6]);
    let summary = stage.machine.round(1).unwrap().evaluation[0].unwrap();
    assert_eq!((summary.members, summary.middle, summary.min), (3, 0.6, -1e30));
    assert_eq!(stage.signed_contributions(), [], "the run goes on");
    values(&mut stage, [-1e30, 0.5, 0.6]);
    assert_eq!(stage.signed_contributions(), [], "two of five are no quorum");
    let last = values(&mut stage, [0.5, 0.2, 0.4]);
    assert_eq!(stage.signed_contributions().len(), 1);
    let content = stage.machine.head().content;
    let mut fresh = vec![stage.signed_contributions()[0].id()];
    fresh.extend([2, 3].map(|by| hear(&mut stage, by, None)));
    let mut seal = stage.seal(3, last, stage.round() + 1, &fresh, &[]).record;
    seal.result = content;
    stage.feed(Input::Seal(signed(seal)));
    for by in [2, 3] {
        hear(&mut stage, by, None);
    }
    assert_eq!(stage.machine.last_checkpoint().unwrap().id, last);
    // Another node that hears the records in any order comes to the same end.
    let mut other = Stage::of(stage.spec.clone(), 2, None);
    let mut records = records_of(&stage);
    records.reverse();
    deliver(&mut other, records);
    assert_eq!(other.machine.last_checkpoint().unwrap().id, last);
}

#[test]
fn nothing_is_computed_on_a_checkpoint_that_may_be_the_last_one() {
    let mut stage = until_half();
    let zero = stage.head();
    let measured = |by: u8, at: CheckpointId, round: u64, loss: Option<f64>| {
        let mut c = stage.contribution(by, at, round, 0).record;
        c.report.metrics = vec![loss.map(|value| Measured { value, samples: 1 })];
        signed(c)
    };
    let first: Vec<_> = (2..5).map(|by| measured(by, zero, 1, Some(0.1))).collect();
    let ids = |all: &[crate::record::Signed<crate::record::Contribution>]| -> Vec<_> {
        all.iter().map(|c| c.record.id()).collect()
    };
    let last = stage.seal(2, zero, 1, &ids(&first), &[]);
    let at = last.record.checkpoint().id();
    let votes: Vec<_> = (2..5).map(|by| measured(by, at, 2, None)).collect();
    let mut closing = stage.seal(3, at, 2, &ids(&votes), &[]).record;
    closing.result = last.record.result;
    let id = closing.checkpoint().id();
    // The contributions that end the run come last.
    stage.feed(Input::Seal(last));
    stage.feed(Input::Seal(signed(closing)));
    votes.into_iter().for_each(|c| stage.feed(Input::Contribution(c)));
    assert!(stage.head() == at || stage.head() == zero);
    first.into_iter().for_each(|c| stage.feed(Input::Contribution(c)));
    assert_eq!(stage.head(), id, "{:?}", stage.refused());
    assert_eq!(stage.refused(), []);
}

#[test]
fn a_report_that_does_not_fit_the_model_is_refused() {
    let mut stage = until_half();
    let measured = |value: f64, samples: u64| Some(Measured { value, samples });
    for (steps, metrics) in [
        (None, vec![]),
        (None, vec![None, None]),
        (None, vec![measured(2e30, 1)]),
        (None, vec![measured(0.5, 0)]),
        (None, vec![measured(0.5, u64::MAX)]),
        (Some(0.5), vec![None]),
        (Some(2e12), vec![None]),
    ] {
        let mut c = stage.contribution(2, stage.head(), 1, 0).record;
        c.report = Report { steps, metrics };
        let id = c.id();
        stage.feed(Input::Contribution(signed(c.clone())));
        assert!(stage.machine.contribution(&id).is_none(), "{:?}", c.report);
    }
    assert_eq!(stage.refusals().len(), 7);
}
