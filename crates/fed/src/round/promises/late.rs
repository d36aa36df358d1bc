//! Losing branches and late work.

use crate::round::SubmissionState;
use crate::round::stage::{Stage, members, node, spec};
use crate::round::{BaseError, Input, Output};

#[test]
fn work_that_missed_its_round_is_carried_and_sealed_in_the_next() {
    let mut stage = Stage::new(spec(members(3), 2));
    let others = [stage.hear(2), stage.hear(3)];
    let zero = stage.head();
    stage.sealed_by(2, &others);
    let id = stage.submit_on(zero, "slow");
    assert_eq!(stage.state(id), SubmissionState::Carried { round: 2 });
    let mine = stage.signed_contributions()[0].id();
    let fresh = [stage.hear(2), stage.hear(3)];
    let seal = stage.seal(3, stage.head(), 2, &fresh, &[mine]);
    let sealed = seal.record.checkpoint().id();
    stage.feed(Input::Seal(seal));
    match stage.state(id) {
        SubmissionState::Sealed {
            checkpoint,
            weight_ppm,
            confirmed,
            settled: false,
        } => {
            assert_eq!((checkpoint, confirmed), (sealed, false));
            // The late contribution weighs 1/√2, against two whole ones.
            assert_eq!(weight_ppm, 261_204);
        }
        other => panic!("{other:?}"),
    }
    let fresh = [stage.hear(2), stage.hear(3)];
    assert!(matches!(
        stage.state(id),
        SubmissionState::Sealed {
            confirmed: true,
            settled: false,
            ..
        }
    ));
    stage.sealed_by(2, &fresh);
    stage.hear(2);
    stage.hear(3);
    assert!(
        stage.state(id).is_final(),
        "a quorum votes for its child, and knew it as confirmed"
    );
}

#[test]
fn a_sealer_takes_at_most_one_late_contribution_a_member_the_oldest_first() {
    let mut stage = Stage::new(spec(members(3), 2));
    let mut parents = vec![stage.head()];
    for _ in 0..2 {
        stage.submit();
        stage.hear(2);
        stage.pass(2_000);
        parents.push(stage.head());
    }
    let late: Vec<_> = (1..)
        .zip(&parents[..2])
        .map(|(round, parent)| stage.contribution(3, *parent, round, 0))
        .collect();
    late.iter().for_each(|c| stage.feed(Input::Contribution(c.clone())));
    for (round, expected) in (3..).zip(&late) {
        stage.submit();
        stage.hear(2);
        stage.pass(2_000);
        let round = stage.machine.round(round).unwrap();
        let taken: Vec<_> = round.contributions.iter().filter(|c| c.late).map(|c| c.id).collect();
        assert_eq!(taken, [expected.record.id()]);
    }
    let aggregated = stage.said.iter().filter_map(|o| match o {
        Output::Aggregate(job) => Some(job.late.iter().map(|l| l.staleness).collect::<Vec<_>>()),
        _ => None,
    });
    assert!(
        aggregated.collect::<Vec<_>>().contains(&vec![2]),
        "two rounds behind: 1 in 3, and 2 in 4"
    );
}

#[test]
fn late_ones_count_neither_towards_k_nor_for_the_head() {
    let mut stage = Stage::new(spec(members(3), 2));
    let zero = stage.head();
    let fresh = [stage.hear(2), stage.hear(3)];
    stage.sealed_by(2, &fresh);
    let late = stage.contribution(1, zero, 1, 0);
    stage.feed(Input::Contribution(late.clone()));
    let two = stage.hear(2);
    let seal = stage.seal(3, stage.head(), 2, &[two], &[late.record.id()]);
    stage.feed(Input::Seal(seal));
    assert_eq!(stage.round(), 1);
    assert!(
        stage.refused()[0]
            .1
            .contains("lists 1 fresh contributions, the spec asks for 2")
    );
}

#[test]
fn no_contribution_appears_twice_in_a_chain() {
    let mut stage = Stage::new(spec(members(3), 2));
    let fresh = [stage.hear(2), stage.hear(3)];
    stage.sealed_by(2, &fresh);
    let next = [stage.hear(2), stage.hear(3)];
    let seal = stage.seal(3, stage.head(), 2, &next, &fresh[..1]);
    stage.feed(Input::Seal(seal));
    assert_eq!(stage.round(), 1);
    assert_eq!(stage.refused()[0].0, node(3));
    assert!(stage.refused()[0].1.contains("lists what its branch lists already"));
}

#[test]
fn what_is_too_old_is_refused_and_its_submission_says_so() {
    let mut stage = Stage::new(spec(members(3), 2));
    let zero = stage.head();
    let early = stage.head();
    let others = [stage.hear(2), stage.hear(3)];
    stage.sealed_by(2, &others);
    let carried = stage.submit_on(early, "slow");
    for _ in 0..6 {
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
    match stage.state(carried) {
        SubmissionState::Rejected { reason } => assert!(reason.contains("within 4 rounds"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let error = stage.machine.check_base(&zero).unwrap_err();
    assert_eq!(error, BaseError::Contributed(zero));
    let second = stage.machine.round(2).unwrap().parent;
    let late = stage.submit_on(second, "slower");
    match stage.state(late) {
        SubmissionState::Rejected { reason } => {
            assert!(reason.contains("6 rounds behind, the spec takes at most 4"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_second_one_from_an_old_base_is_refused_because_the_node_contributed_there() {
    let mut stage = Stage::new(spec(members(3), 2));
    let zero = stage.head();
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
    let again = stage.submit_on(zero, "other");
    match stage.state(again) {
        SubmissionState::Rejected { reason } => assert!(reason.contains("already contributed"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.signed_contributions().len(), 1);
}

#[test]
fn a_late_update_that_turns_out_bad_does_not_stop_the_round() {
    let mut stage = Stage::new(spec(members(3), 2));
    let others = [stage.hear(2), stage.hear(3)];
    let zero = stage.head();
    stage.sealed_by(2, &others);
    stage.submit_on(zero, "slow");
    let late = stage.signed_contributions()[0].clone();
    stage.slow = true;
    stage.submit();
    stage.hear(2);
    stage.hear(3);
    stage.pass(700);
    let job = |stage: &Stage| {
        let jobs = stage.said.iter().rev().filter_map(|o| match o {
            Output::Aggregate(job) => Some(job.clone()),
            _ => None,
        });
        jobs.into_iter().next().unwrap()
    };
    let first = job(&stage);
    assert_eq!(first.late.iter().map(|l| l.item.id).collect::<Vec<_>>(), [late.id()]);
    // A second look at the blob finds that it is no update.
    stage.bad.insert(late.update);
    stage.slow = false;
    stage.feed(Input::AggregateFailed { proposal: first.id });
    stage.pass(2_000);
    assert_eq!(stage.round(), 2);
    assert!(job(&stage).late.is_empty());
}
