//! Final checkpoints stay: votes go up, and no node helps a branch that a quorum has left.

use crate::id::CheckpointId;
use crate::round::stage::{Stage, members, signed, spec};
use crate::round::{BaseError, Input, SubmissionState};

/// A list of five members with k = 2, below the quorum of 3, so that branches are cheap. Node 1 has
/// seen `rounds` rounds, made by members 2 and 3.
fn stage(rounds: u64) -> Stage {
    let mut stage = Stage::new(spec(members(5), 2));
    for _ in 0..rounds {
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
    stage
}

/// Feeds contributions of these members on a checkpoint of round `round - 1`,
/// and a seal of the first member for the next round.
fn grow(stage: &mut Stage, parent: CheckpointId, round: u64, by: &[u8]) -> CheckpointId {
    let fresh: Vec<_> = by
        .iter()
        .map(|by| {
            let c = stage.contribution(*by, parent, round, 7);
            let id = c.record.id();
            stage.feed(Input::Contribution(c));
            id
        })
        .collect();
    let seal = stage.seal(by[0], parent, round, &fresh, &[]);
    let id = seal.record.checkpoint().id();
    stage.feed(Input::Seal(seal));
    id
}

fn votes(stage: &Stage) -> Vec<Option<u64>> {
    stage.signed_contributions().iter().map(|c| c.source).collect()
}

#[test]
fn a_vote_names_the_newest_confirmed_round_below() {
    let mut stage = stage(1);
    stage.submit();
    assert_eq!(votes(&stage), [Some(0)], "only checkpoint 0 is confirmed");
    let mut fresh = vec![stage.signed_contributions()[0].id()];
    fresh.extend([stage.hear(2), stage.hear(3)]);
    stage.sealed_by(2, &fresh);
    stage.submit();
    assert_eq!(votes(&stage), [Some(0), Some(1)], "three of five stood on round 1");
}

#[test]
fn a_node_votes_once_a_round_whatever_head_it_swings_to() {
    let mut stage = stage(0);
    let zero = stage.head();
    let first = grow(&mut stage, zero, 1, &[2, 3]);
    stage.submit();
    // A branch with more fresh contributions wins at equal rounds.
    let second = grow(&mut stage, zero, 1, &[3, 4, 5]);
    // A vote already stands on the first branch, so only a longer branch moves the head.
    let third = grow(&mut stage, second, 2, &[3, 4]);
    assert_ne!(first, second);
    assert_eq!(stage.head(), third);
    let late = stage.submit_on(second, "late");
    assert!(matches!(
        stage.state(late),
        SubmissionState::Carried { .. } | SubmissionState::Merged { .. }
    ));
    assert_eq!(
        votes(&stage),
        [Some(0), None],
        "a second vote of one round would count for both branches"
    );
    // The node remembers its vote after a restart, and it votes again in the next round.
    let mut stage = stage.restart();
    stage.submit();
    assert_eq!(votes(&stage), [Some(0)]);
}

#[test]
fn a_vote_never_names_an_older_source_than_an_earlier_one() {
    let mut stage = stage(2);
    let first = stage.machine.round(1).unwrap();
    let on_first = stage.contribution(4, first.checkpoint.unwrap().id, 2, 0);
    stage.feed(Input::Contribution(on_first));
    stage.submit();
    assert_eq!(votes(&stage), [Some(1)]);
    // On another branch a quorum confirms round 3 and nothing below it.
    let mut at = first.parent;
    for round in 1..=3 {
        at = grow(&mut stage, at, round, &[2, 3]);
    }
    let fresh = [3, 4, 5].map(|by| stage.contribution(by, at, 4, 0));
    let ids = fresh.clone().map(|c| c.record.id());
    fresh.into_iter().for_each(|c| stage.feed(Input::Contribution(c)));
    assert_eq!(stage.head(), at);
    let mut stage = stage.restart();
    stage.submit();
    assert_eq!(votes(&stage), [None], "its source would be round 0");
    stage.sealed_by(3, &ids);
    stage.submit();
    assert_eq!(votes(&stage), [None, Some(3)]);
}

#[test]
fn what_is_sealed_is_final_when_a_quorum_votes_for_a_child_and_knew_it_as_confirmed() {
    let mut stage = stage(0);
    let id = stage.submit();
    let fresh = [stage.signed_contributions()[0].id(), stage.hear(2), stage.hear(3)];
    let sealed = stage.sealed_by(2, &fresh);
    let mut said = vec![];
    for _ in 0..3 {
        let fresh = [stage.hear(2), stage.hear(3), stage.hear(4)];
        if let SubmissionState::Sealed { confirmed, settled, .. } = stage.state(id) {
            said.push((confirmed, settled));
        }
        stage.sealed_by(2, &fresh);
    }
    assert_eq!(said, [(true, false), (true, true), (true, true)]);
    assert_eq!(stage.machine.settled_head().round, 2);
    assert_ne!(stage.head(), sealed);
}

#[test]
fn votes_that_do_not_link_settle_nothing() {
    let mut stage = stage(0);
    for _ in 0..4 {
        let fresh: Vec<_> = (2..=4)
            .map(|by| {
                let mut c = stage.contribution(by, stage.head(), stage.round() + 1, 0).record;
                c.source = (stage.round() > 0).then_some(0);
                let id = c.id();
                stage.feed(Input::Contribution(signed(c)));
                id
            })
            .collect();
        stage.sealed_by(2, &fresh);
    }
    assert_eq!(stage.machine.confirmed_head().round, 3);
    assert_eq!(
        stage.machine.settled_head().round,
        0,
        "each vote passed over the round below"
    );
}

#[test]
fn nothing_is_signed_against_a_confirmed_checkpoint() {
    let mut stage = stage(0);
    let zero = stage.head();
    let lost = grow(&mut stage, zero, 1, &[2, 3]);
    assert_eq!(stage.head(), lost);
    // Everything of the other branch is known but its weights, so the head cannot follow yet.
    stage.slow = true;
    let fresh: Vec<_> = [3, 4].iter().map(|by| stage.contribution(*by, zero, 1, 9)).collect();
    fresh.iter().for_each(|c| {
        stage.withheld.insert(c.record.update);
    });
    let ids: Vec<_> = fresh.iter().map(|c| c.record.id()).collect();
    fresh.into_iter().for_each(|c| stage.feed(Input::Contribution(c)));
    let seal = stage.seal(4, zero, 1, &ids, &[]);
    let (won, result) = (seal.record.checkpoint().id(), seal.record.result.weights);
    stage.withheld.insert(result);
    stage.feed(Input::Seal(seal));
    assert!(stage.machine.check_base(&lost).is_ok());
    for by in 3..=5 {
        let c = stage.contribution(by, won, 2, 9);
        stage.withheld.insert(c.record.update);
        stage.feed(Input::Contribution(c));
    }
    assert_eq!(stage.head(), lost, "the weights of the winner are withheld");
    let conflict = BaseError::Conflicts {
        base: lost,
        confirmed: won,
    };
    assert_eq!(stage.machine.check_base(&lost), Err(conflict));
    let refused = stage.submit();
    assert!(matches!(stage.state(refused), SubmissionState::Rejected { .. }));
    stage.hear(2);
    stage.hear(3);
    stage.pass(5_000);
    assert!(stage.signed_contributions().is_empty() && stage.signed_seals().is_empty());
}

#[test]
fn what_an_equivocator_says_counts_the_same_in_any_order() {
    for order in [[0, 1, 2], [2, 0, 1], [0, 2, 1]] {
        let mut stage = stage(1);
        let head = stage.head();
        let said: Vec<_> = [None, None, Some(0)]
            .into_iter()
            .zip(1..)
            .map(|(source, variant)| {
                let mut c = stage.contribution(5, head, 2, variant).record;
                c.source = source;
                signed(c)
            })
            .collect();
        stage.hear(2);
        stage.hear(3);
        for i in order {
            stage.feed(Input::Contribution(said[i].clone()));
        }
        assert_eq!(stage.machine.confirmed_head().round, 1, "{order:?}");
    }
}

#[test]
fn what_a_node_signed_is_remembered_when_its_branch_is_gone() {
    let mut stage = stage(1);
    let id = stage.submit();
    let mine = stage.signed_contributions()[0].id();
    assert_eq!(votes(&stage), [Some(0)]);
    // The branch was dropped: the store holds the contribution and no seal below it.
    stage.disk.seals.clear();
    let mut stage = stage.restart();
    assert!(stage.machine.contribution(&mine).is_some());
    assert!(
        !stage.state(id).is_final(),
        "others may list it yet: {:?}",
        stage.state(id)
    );
    let zero = stage.head();
    let other = grow(&mut stage, zero, 1, &[3, 4]);
    assert_eq!(stage.head(), other);
    stage.submit();
    assert_eq!(votes(&stage), [None], "it voted in round 1 already");
}
