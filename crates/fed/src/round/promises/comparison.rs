//! After a start nothing is signed before the records were compared with others.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, NodeId};
use crate::record::{Membership, Spec};
use crate::round::stage::{Stage, members, node, records_of, spec};
use crate::round::{BaseError, Convicted, Input, Restored, SubmissionState};

fn signed(stage: &Stage) -> usize {
    stage.signed_contributions().len() + stage.signed_seals().len()
}

/// Node 1 of a model, started from what `disk` holds. The [`Stage`] has compared with no other node.
fn started(spec: &Spec, disk: Restored) -> Stage {
    let config = Stage::new(spec.clone()).config;
    Stage::uncompared(spec.clone(), config, disk, crate::id::Instant(1_000))
}

fn reachable(stage: &mut Stage, nodes: &[u8]) {
    let nodes: BTreeSet<NodeId> = nodes.iter().map(|n| node(*n)).collect();
    stage.feed(Input::Reachable(nodes));
}

#[test]
fn nothing_is_signed_before_a_comparison_with_a_quorum() {
    // A quorum of 5 is 3: this node and two others.
    let mut stage = started(&spec(members(5), 1), Restored::default());
    reachable(&mut stage, &[2, 3, 4]);
    stage.submit();
    stage.hear(2);
    stage.pass(5_000);
    assert_eq!(signed(&stage), 0);
    stage.feed(Input::Compared(node(2)));
    stage.feed(Input::Compared(node(2)));
    stage.feed(Input::Compared(node(77)));
    stage.feed(Input::Compared(node(1)));
    let waits = stage.machine.conditions().comparing.expect("it waits");
    assert_eq!(
        (waits.compared, waits.needed),
        (1, 2),
        "one member, however often, and no stranger"
    );
    assert_eq!(signed(&stage), 0);
    stage.feed(Input::Compared(node(4)));
    assert_eq!(stage.machine.conditions().comparing, None);
    assert_eq!(stage.signed_contributions().len(), 1, "what waited is merged at once");
}

#[test]
fn with_nobody_in_reach_the_wait_is_ten_seconds() {
    let mut stage = started(&spec(members(3), 1), Restored::default());
    stage.submit();
    stage.pass(9_990);
    assert_eq!(signed(&stage), 0);
    assert!(stage.wake().is_some(), "it wakes by itself");
    stage.pass(10);
    assert_eq!(stage.signed_contributions().len(), 1);
}

#[test]
fn a_member_in_reach_that_never_answers_costs_a_minute_at_most() {
    let mut stage = started(&spec(members(3), 1), Restored::default());
    reachable(&mut stage, &[2, 3]);
    stage.submit();
    stage.pass(59_990);
    assert_eq!(signed(&stage), 0);
    stage.pass(10);
    assert_eq!(stage.signed_contributions().len(), 1);
}

#[test]
fn strangers_in_reach_are_not_waited_for() {
    let mut stage = started(&spec(members(3), 1), Restored::default());
    reachable(&mut stage, &[8, 9]);
    stage.submit();
    stage.pass(10_000);
    assert_eq!(stage.signed_contributions().len(), 1);
    let mut open = started(&spec(Membership::Open, 1), Restored::default());
    open.submit();
    assert_eq!(signed(&open), 0);
    for n in [8, 9] {
        open.feed(Input::Compared(node(n)));
    }
    assert_eq!(
        open.signed_contributions().len(),
        1,
        "two peers of an open model are enough"
    );
}

#[test]
fn a_member_alone_compares_with_none() {
    let mut stage = started(&spec(members(1), 1), Restored::default());
    stage.submit();
    assert_eq!(stage.round(), 1);
}

#[test]
fn a_node_that_returns_from_an_old_backup_signs_no_second_contribution() {
    let spec = spec(members(3), 2);
    let mut stage = Stage::new(spec.clone());
    let zero: CheckpointId = stage.head();
    stage.submit();
    assert_eq!(stage.signed_contributions().len(), 1);
    // The backup is from before this contribution; the other nodes have what was signed since.
    let mut back = started(&spec, Restored::default());
    back.submit();
    assert_eq!(signed(&back), 0);
    for record in records_of(&stage) {
        back.feed(record);
    }
    back.feed(Input::Compared(node(2)));
    assert_eq!(back.machine.check_base(&zero), Err(BaseError::Contributed(zero)));
    assert!(back.signed_contributions().is_empty());
    assert_eq!(back.machine.conditions().convicted, None);
}

#[test]
fn a_convicted_node_takes_no_work_and_says_by_which_proof() {
    let mut stage = Stage::new(spec(members(3), 2));
    let waiting = stage.submit();
    let head = stage.head();
    for variant in [1, 2] {
        let own = stage.contribution(1, head, 1, variant);
        stage.feed(Input::Contribution(own));
    }
    let proof = stage
        .machine
        .conditions()
        .convicted
        .expect("it is convicted")
        .proof
        .expect("it is held");
    let refusal = stage.machine.check_base(&head).unwrap_err();
    let convicted = Convicted { proof: Some(proof) };
    assert_eq!(refusal, BaseError::Convicted(convicted));
    assert!(refusal.to_string().contains(&proof.to_string()), "{refusal}");
    assert!(matches!(stage.state(waiting), SubmissionState::Merged { .. }));
    let convicted = Some(convicted);
    // The conviction stays after a restart, and after the proof has done its work with the others.
    assert_eq!(stage.restart().machine.conditions().convicted, convicted);
    for _ in 0..20 {
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
    assert!(stage.round() >= 20);
    assert_eq!(stage.machine.conditions().convicted, convicted);
    assert_eq!(stage.restart().machine.conditions().convicted, convicted);
}

#[test]
fn rounds_that_no_quorum_confirms_are_told_and_end_at_a_thousand() {
    // One of five members goes on alone.
    let mut stage = Stage::of(spec(members(5), 1), 1, Some(8));
    while stage.round() < 31 {
        stage.submit();
        stage.pass(60_000);
    }
    assert_eq!(stage.machine.conditions().unsettled, None);
    while stage.round() < 1_024 {
        let before = stage.round();
        stage.submit();
        stage.pass(60_000);
        assert_eq!(stage.round(), before + 1);
        stage.said.clear();
    }
    let told = stage.machine.conditions().unsettled.expect("it is told");
    assert_eq!((told.rounds, told.limit), (1_024, 1_024));
    stage.submit();
    stage.pass(3_600_000);
    assert_eq!(stage.round(), 1_024, "no further");
    // The others come back: their votes settle the rounds that were made alone, and this node goes on.
    for _ in 0..4 {
        let fresh: Vec<_> = (2..=4).map(|n| stage.hear(n)).collect();
        let sealed = stage.sealed_by(2, &fresh);
        assert_eq!(stage.head(), sealed);
    }
    assert_eq!(stage.machine.conditions().unsettled, None);
    let round = stage.round();
    stage.submit();
    stage.pass(60_000);
    assert_eq!(stage.round(), round + 1);
}
