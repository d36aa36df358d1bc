//! Members change by agreement: a model ends at one checkpoint, and a successor begins with its weights.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, NodeId};
use crate::record::{Change, Consent, Handover, Membership, Signed};
use crate::round::stage::{Stage, members, node, signed, spec};
use crate::round::{Config, Input, MembersPolicy, Output, SubmissionState, Succession};

fn change(proposer: u8, add: u8) -> Change {
    Change {
        proposer: node(proposer),
        add: [node(add)].into(),
        remove: BTreeSet::new(),
    }
}

/// A stage of the first of these members, with this policy.
fn stage_of(n: u8, k: u32, policy: MembersPolicy) -> Stage {
    let stage = Stage::new(spec(members(n), k));
    let config = Config {
        members: policy,
        ..stage.config.clone()
    };
    Stage::with(stage.spec.clone(), config, stage.disk.clone(), stage.now)
}

fn consent(stage: &Stage, by: u8, number: u64, change: &Change, handover: Option<Handover>) -> Signed<Consent> {
    signed(Consent {
        spec: stage.spec.id(),
        author: node(by),
        number,
        change: Some(change.clone()),
        handover,
    })
}

fn at(stage: &Stage, bound: bool) -> Option<Handover> {
    handover(stage.round(), stage.head(), bound)
}

fn handover(round: u64, checkpoint: CheckpointId, bound: bool) -> Option<Handover> {
    Some(Handover {
        round,
        checkpoint,
        bound,
    })
}

/// The newest consent that the stage sent.
fn sent(stage: &Stage) -> Option<Consent> {
    stage.said.iter().rev().find_map(|output| match output {
        Output::SendConsent(signed) => Some(signed.record.clone()),
        _ => None,
    })
}

fn told(stage: &Stage) -> Vec<Succession> {
    let told = stage.said.iter().filter_map(|output| match output {
        Output::Succeeded(succession) => Some(succession.clone()),
        _ => None,
    });
    told.collect()
}

#[test]
fn nothing_changes_before_a_quorum_agrees() {
    let mut stage = stage_of(3, 2, MembersPolicy::Ask);
    stage.feed(Input::Consent(consent(&stage, 2, 1, &change(2, 9), None)));
    assert_eq!(sent(&stage), None, "the operator is asked");
    assert_eq!(stage.machine.changes().len(), 1);
    stage.submit();
    assert_eq!(stage.signed_contributions().len(), 1, "the model goes on");
    stage.feed(Input::Agree(Some(change(2, 9))));
    assert_eq!(sent(&stage).unwrap().change, Some(change(2, 9)));
    stage.feed(Input::Agree(None));
    assert!(
        sent(&stage).unwrap().handover.is_some(),
        "what a quorum agreed to is not withdrawn"
    );
}

#[test]
fn a_node_that_follows_agrees_by_itself_and_one_that_refuses_never_does() {
    for (policy, agrees) in [(MembersPolicy::Follow, true), (MembersPolicy::Never, false)] {
        let mut stage = stage_of(5, 3, policy);
        stage.feed(Input::Consent(consent(&stage, 2, 1, &change(2, 9), None)));
        assert_eq!(sent(&stage).is_some(), agrees, "{policy:?}");
    }
    let mut stage = stage_of(3, 2, MembersPolicy::Never);
    for by in [2, 3] {
        stage.feed(Input::Consent(consent(&stage, by, 1, &change(2, 9), None)));
    }
    stage.submit();
    assert_eq!(
        stage.signed_contributions().len(),
        1,
        "a node that refuses stays with the model"
    );
    for by in [2, 3] {
        stage.feed(Input::Consent(consent(&stage, by, 2, &change(2, 9), at(&stage, true))));
    }
    assert_eq!((sent(&stage), told(&stage).len()), (None, 1), "but it is told");
}

#[test]
fn a_model_ends_where_a_quorum_stands_and_the_successor_begins_with_its_weights() {
    let mut stage = stage_of(3, 2, MembersPolicy::Ask);
    let mine = stage.submit();
    let theirs = stage.hear(2);
    let own = stage.signed_contributions()[0].id();
    let head = stage.sealed_by(2, &[own, theirs]);
    assert_eq!(stage.head(), head);
    assert!(matches!(stage.state(mine), SubmissionState::Sealed { .. }));
    stage.feed(Input::Agree(Some(change(1, 9))));
    let late = stage.submit();
    assert_eq!(
        stage.signed_contributions().len(),
        2,
        "one member is no quorum: the model goes on"
    );
    stage.feed(Input::Consent(consent(&stage, 2, 1, &change(1, 9), None)));
    assert_eq!(sent(&stage).unwrap().handover, handover(1, head, false));
    let waiting = stage.submit_on(head, "another");
    assert_eq!(
        stage.signed_contributions().len(),
        2,
        "no more work on a model that ends"
    );
    stage.feed(Input::Consent(consent(&stage, 2, 2, &change(1, 9), at(&stage, false))));
    assert_eq!(
        sent(&stage).unwrap().handover,
        handover(1, head, true),
        "a quorum stands here"
    );
    assert!(told(&stage).is_empty());
    stage.feed(Input::Consent(consent(&stage, 2, 3, &change(1, 9), at(&stage, true))));
    let [succession] = &told(&stage)[..] else {
        panic!("it is told once")
    };
    assert_eq!((succession.checkpoint, succession.round), (head, 1));
    let weights = stage.machine.head().content.weights;
    let successor = change(1, 9).successor(&stage.spec, 1, weights).unwrap();
    assert_eq!(succession.successor, successor.id());
    assert!(successor.admits(&node(9)));
    use crate::round::Handed::{CarriedOver, Sealed};
    let handed = stage.machine.handed_over(&head);
    let sealed = Sealed {
        checkpoint: head,
        weight_ppm: 500_000,
    };
    for (id, fate) in [(mine, sealed), (late, CarriedOver)] {
        assert!(handed.contains(&(id, fate)), "{id:?} {fate:?}: {handed:?}");
    }
    assert!(matches!(
        stage.state(waiting),
        SubmissionState::Rejected { .. } | SubmissionState::Pending
    ));
    let again = stage.restart();
    assert_eq!(
        told(&again),
        std::slice::from_ref(succession),
        "a restart says it again"
    );
}

#[test]
fn a_round_that_has_enough_closes_before_the_model_ends() {
    let mut stage = stage_of(3, 2, MembersPolicy::Ask);
    stage.submit();
    stage.hear(2);
    stage.pass(10);
    assert_eq!(stage.round(), 0, "the round waits for the third member");
    for by in [2, 3] {
        stage.feed(Input::Consent(consent(&stage, by, 1, &change(2, 9), None)));
    }
    stage.pass(700);
    assert_eq!(stage.round(), 1, "it does not wait for the deadline any more");
    assert_eq!(sent(&stage).unwrap().handover, at(&stage, false));
}

#[test]
fn a_bound_member_stays_bound_while_a_quorum_may_be_reached_there() {
    let mut stage = stage_of(5, 3, MembersPolicy::Ask);
    let zero = stage.head();
    for by in [2, 3, 4] {
        stage.feed(Input::Consent(consent(&stage, by, 1, &change(2, 9), None)));
    }
    for by in [2, 3] {
        stage.feed(Input::Consent(consent(
            &stage,
            by,
            2,
            &change(2, 9),
            handover(0, zero, false),
        )));
    }
    assert_eq!(sent(&stage).unwrap().handover, handover(0, zero, true));
    // A round closes that this node did not know of, and two members are bound to its checkpoint.
    let authors: Vec<_> = [2, 3, 4].map(|by| stage.contribution(by, zero, 1, 0)).into();
    let ids: Vec<_> = authors.iter().map(|c| c.record.id()).collect();
    authors.into_iter().for_each(|c| stage.feed(Input::Contribution(c)));
    let next = stage.sealed_by(4, &ids);
    assert_eq!(stage.head(), next);
    for by in [4, 5] {
        stage.feed(Input::Consent(consent(
            &stage,
            by,
            3,
            &change(2, 9),
            handover(1, next, true),
        )));
    }
    assert_eq!(
        sent(&stage).unwrap().handover,
        handover(0, zero, true),
        "2 and 3 may be bound there too"
    );
    assert!(told(&stage).is_empty());
    stage.feed(Input::Consent(consent(
        &stage,
        3,
        3,
        &change(2, 9),
        handover(1, next, true),
    )));
    assert_eq!(
        sent(&stage).unwrap().handover,
        handover(1, next, true),
        "no quorum can be bound to the old one"
    );
    assert_eq!(told(&stage)[0].checkpoint, next);
}

#[test]
fn what_its_proposer_withdraws_or_a_stranger_says_counts_nothing() {
    let mut stage = stage_of(3, 2, MembersPolicy::Ask);
    stage.feed(Input::Consent(consent(&stage, 9, 1, &change(9, 8), None)));
    stage.feed(Input::Consent(consent(&stage, 2, 1, &change(2, 3), None)));
    assert!(
        stage.machine.changes().is_empty(),
        "a stranger, and a change that does not fit"
    );
    stage.feed(Input::Consent(consent(&stage, 2, 1, &change(2, 9), None)));
    let mut withdrawn = consent(&stage, 2, 2, &change(2, 9), None);
    withdrawn.record.change = None;
    stage.feed(Input::Consent(withdrawn));
    assert!(stage.machine.changes().is_empty());
    let other = Stage::new(spec(Membership::List([node(1), node(7)].into()), 1));
    stage.feed(Input::Consent(consent(&other, 2, 9, &change(2, 9), None)));
    assert!(stage.machine.changes().is_empty(), "a consent of another model");
}

#[test]
fn a_withdrawal_that_crosses_an_agreement_leaves_nobody_behind() {
    let mut stage = stage_of(3, 2, MembersPolicy::Ask);
    stage.feed(Input::Consent(consent(&stage, 2, 1, &change(2, 9), None)));
    stage.feed(Input::Agree(Some(change(2, 9))));
    assert!(
        sent(&stage).unwrap().handover.is_some(),
        "a quorum agreed, as this node knows"
    );
    let mut withdrawn = consent(&stage, 2, 2, &change(2, 9), None);
    withdrawn.record.change = None;
    stage.feed(Input::Consent(withdrawn));
    assert_eq!(sent(&stage).unwrap().handover, None, "to stand somewhere is no promise");
    stage.submit();
    assert_eq!(stage.signed_contributions().len(), 1, "the model goes on");
    stage.feed(Input::Agree(None));
    assert_eq!(sent(&stage).unwrap().change, None);
}

#[test]
fn a_proposer_that_withdraws_late_does_not_undo_what_a_quorum_is_bound_to() {
    let mut stage = stage_of(5, 3, MembersPolicy::Ask);
    let zero = stage.head();
    for by in [2, 3, 4] {
        stage.feed(Input::Consent(consent(&stage, by, 1, &change(5, 9), None)));
    }
    stage.feed(Input::Consent(consent(&stage, 5, 1, &change(5, 9), None)));
    for by in [2, 3] {
        stage.feed(Input::Consent(consent(
            &stage,
            by,
            2,
            &change(5, 9),
            handover(0, zero, true),
        )));
    }
    assert_eq!(sent(&stage).unwrap().handover, handover(0, zero, true));
    assert_eq!(told(&stage).len(), 1);
    let mut withdrawn = consent(&stage, 5, 9, &change(5, 9), None);
    withdrawn.record.change = None;
    stage.feed(Input::Consent(withdrawn));
    assert_eq!(told(&stage.restart()), told(&stage), "a restart says the same");
    // A member that was away hears of the withdrawal first.
    let mut late = stage_of(5, 3, MembersPolicy::Ask);
    for record in crate::round::stage::records_of(&stage) {
        late.feed(record);
    }
    assert_eq!(told(&late), told(&stage));
}

#[test]
fn one_member_alone_changes_its_model_at_once() {
    let mut stage = stage_of(1, 1, MembersPolicy::Ask);
    stage.submit();
    let head = stage.head();
    stage.feed(Input::Agree(Some(change(1, 2))));
    assert_eq!(told(&stage).len(), 1);
    assert_eq!(told(&stage)[0].checkpoint, head);
    let nobody: Vec<NodeId> = vec![];
    assert_eq!(
        stage.machine.open_round().missing,
        nobody.clone().into_iter().chain([node(1)]).collect::<Vec<_>>()
    );
}
