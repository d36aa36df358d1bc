//! The lies of one node stop no other node.

use crate::id::{BlobId, CheckpointId, ContributionId, NodeId};
use crate::record::{BlobRole, Membership};
use crate::round::stage::{Stage, members, node, spec};
use crate::round::{Input, Output};

/// Feeds a contribution whose update is not the blob that its author made.
fn naming(stage: &mut Stage, by: u8, update: BlobId) -> ContributionId {
    let mut c = stage.contribution(by, stage.head(), stage.round() + 1, 0);
    c.record.update = update;
    // A check of the blob as an update finds that it is none.
    stage.bad.insert(update);
    let id = c.record.id();
    stage.feed(Input::Contribution(c));
    id
}

#[test]
fn weights_named_as_an_update_are_never_listed_and_stay_weights() {
    let mut stage = Stage::new(spec(members(3), 2));
    let weights = stage.spec.checkpoint0;
    let lie = naming(&mut stage, 3, weights);
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
    assert!(stage.signed_seals().iter().all(|seal| !seal.fresh.contains(&lie)));
    assert_eq!(stage.refused()[0].0, node(3));
    let mut stage = stage.restart();
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 2);
}

#[test]
fn the_next_weights_named_as_an_update_before_they_are_there_are_a_base_all_the_same() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    let own = stage.signed_contributions()[0].id();
    let two = stage.hear(2);
    let seal = stage.seal(2, stage.head(), 1, &[own, two], &[]);
    naming(&mut stage, 3, seal.record.result.weights);
    let next = seal.record.checkpoint().id();
    stage.feed(Input::Seal(seal));
    assert_eq!((stage.round(), stage.head()), (1, next));
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 2);
}

#[test]
fn a_silent_member_costs_one_deadline_whatever_rounds_it_claims() {
    let mut stage = Stage::new(spec(members(3), 2));
    // Member 3 makes a chain of its own, which no node can check. At its end is a contribution whose
    // update is here, because it is another member's.
    let mut parent = stage.head();
    for n in 1..=20 {
        let fresh = [ContributionId([n; 32]), ContributionId([n + 100; 32])];
        let seal = stage.seal(3, parent, n.into(), &fresh, &[]);
        parent = seal.record.checkpoint().id();
        stage.feed(Input::Seal(seal));
    }
    let two = stage.hear(2);
    let mut far = stage.contribution(3, parent, 21, 0);
    far.record.update = stage.machine.contribution(&two).unwrap().record.update;
    let id = far.record.id();
    stage.feed(Input::Contribution(far));
    assert!(stage.machine.contribution(&id).is_some());
    for round in 1..=4 {
        stage.submit();
        if round > 1 {
            stage.hear(2);
        }
        let begun = stage.now;
        while stage.round() < round {
            stage.pass(10);
        }
        let waited = stage.now.since_ms(begun);
        assert_eq!(waited >= 1_000, round == 1, "round {round}: {waited} ms");
    }
}

#[test]
fn a_seal_may_not_make_room_for_what_it_may_not_list() {
    let mut stage = Stage::new(spec(members(3), 2));
    let head = stage.head();
    let strays: Vec<_> = (0..3)
        .map(|n| stage.contribution(3, CheckpointId([n; 32]), 900, n))
        .collect();
    let ids: Vec<_> = strays.iter().map(|c| c.record.id()).collect();
    stage.feed(Input::Seal(stage.seal(3, head, 1, &ids[..2], &[])));
    for stray in strays.clone() {
        stage.feed(Input::Contribution(stray));
    }
    let held = ids.iter().filter(|id| stage.machine.contribution(id).is_some()).count();
    assert_eq!(held, 0);
    assert!(
        stage.refused()[0].1.contains("not on its parent"),
        "{:?}",
        stage.refused()
    );
    // The next seal lists more than one contribution per member.
    let many: Vec<_> = (0..4).map(|n| ContributionId([n; 32])).collect();
    stage.feed(Input::Seal(stage.seal(2, head, 1, &many, &[])));
    let last = stage.refused().pop().unwrap();
    assert!(last.0 == node(2) && last.1.contains("more than 3"), "{last:?}");
}

#[test]
fn strangers_that_withhold_take_nobodys_place_in_an_open_model() {
    let mut stage = Stage::new(spec(Membership::Open, 2));
    for n in 0..100u8 {
        let mut c = stage.contribution(2, stage.head(), 1, n);
        c.record.author = NodeId([[0; 31].as_slice(), &[n]].concat().try_into().unwrap());
        stage.withheld.insert(c.record.update);
        stage.feed(Input::Contribution(c));
    }
    stage.submit();
    stage.hear(200);
    // The round takes the deadline, and one stagger at most.
    stage.pass(1_500);
    assert_eq!(stage.round(), 1);
    let asked = |o: &&Output| {
        matches!(
            o,
            Output::WantBlob {
                role: BlobRole::Update,
                ..
            }
        )
    };
    assert!(stage.said.iter().filter(asked).count() > 100);
}
