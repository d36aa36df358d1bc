//! The moment when a round closes.

use crate::record::{BlobRole, Membership};
use crate::round::stage::{Stage, members, node, spec};
use crate::round::{Config, Input, SubmissionState};

#[test]
fn alone_one_of_one_everything_works() {
    let mut stage = Stage::new(spec(members(1), 1));
    for round in 1..=3 {
        let id = stage.submit();
        assert_eq!(stage.round(), round, "sealed at once: {:?}", stage.state(id));
    }
    assert_eq!(
        stage.machine.confirmed_head().round,
        2,
        "the last one has nobody on it yet"
    );
}

#[test]
fn a_node_about_to_stop_merges_what_it_has_and_the_round_still_waits_for_the_others() {
    let mut stage = Stage::new(spec(members(3), 1));
    let config = Config {
        trainers: 2,
        ..stage.config.clone()
    };
    stage = Stage::with(stage.spec, config, stage.disk, stage.now);
    let id = stage.submit();
    assert_eq!(
        stage.state(id),
        SubmissionState::Pending,
        "another trainer is waited for"
    );
    stage.feed(Input::MergeNow);
    assert!(matches!(stage.state(id), SubmissionState::Merged { .. }));
    assert_eq!(stage.signed_contributions().len(), 1);
    assert_eq!(stage.round(), 0);
}

#[test]
fn an_idle_model_costs_nothing() {
    let mut stage = Stage::new(spec(members(3), 2));
    assert_eq!(stage.wake(), None);
    stage.pass(1_000_000);
    assert_eq!(stage.round(), 0);
}

#[test]
fn it_is_sealed_at_once_when_all_expected_are_in() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    stage.hear(2);
    assert_eq!(stage.machine.open_round().missing, [node(3)]);
    assert_eq!(stage.round(), 0);
    stage.hear(3);
    // Sealing takes up to two staggers if this node is last in rank; that is far less than the deadline.
    stage.pass(700);
    assert_eq!(stage.round(), 1);
    assert_eq!(stage.machine.round(1).unwrap().contributions.len(), 3);
}

#[test]
fn it_is_sealed_at_the_deadline_when_k_are_in() {
    let mut stage = Stage::new(spec(members(4), 3));
    stage.submit();
    stage.hear(2);
    stage.hear(3);
    stage.pass(990);
    assert_eq!(stage.round(), 0);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
}

#[test]
fn a_deadline_is_kept_even_if_another_input_comes_in_the_moment_of_its_tick() {
    let mut stage = Stage::new(spec(members(4), 3));
    stage.submit();
    stage.hear(2);
    stage.hear(3);
    stage.now = stage.wake().unwrap();
    stage.feed(Input::BlobHere {
        blob: crate::id::BlobId([9; 32]),
        role: BlobRole::Update,
    });
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
}

#[test]
fn below_k_it_waits_and_says_who_is_missing() {
    let mut stage = Stage::new(spec(members(4), 3));
    stage.submit();
    stage.hear(2);
    stage.pass(100_000);
    assert_eq!(stage.round(), 0);
    assert_eq!(stage.machine.open_round().missing, [node(3), node(4)]);
    stage.hear(4);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1, "the deadline is long past: at once");
}

#[test]
fn a_silent_member_costs_a_deadline_once() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
    // From now on the two members that are there do not wait for the third.
    for round in 2..5 {
        stage.submit();
        stage.hear(2);
        stage.pass_to_round(round, 700);
    }
    // Once the third member has contributed it is expected again, but not by work that came later than a round waits for.
    let parent = stage.machine.checkpoint(&stage.head()).unwrap().parent.unwrap();
    let late = stage.contribution(3, parent, stage.round(), 0);
    stage.feed(Input::Contribution(late));
    stage.hear(3);
    stage.submit();
    stage.hear(2);
    stage.pass_to_round(5, 700);
    stage.submit();
    stage.hear(2);
    assert_eq!(stage.machine.open_round().missing, [node(3)]);
    stage.pass(700);
    assert_eq!(stage.round(), 5, "it is waited for");
    stage.hear(3);
    stage.pass(700);
    assert_eq!(stage.round(), 6);
}

#[test]
fn a_restart_does_not_wait_for_the_silent_again() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    let mut again = stage.restart();
    assert_eq!(again.round(), 1);
    again.submit();
    again.hear(2);
    again.pass(700);
    assert_eq!(again.round(), 2, "well before the deadline");
}

#[test]
fn one_who_announces_and_never_delivers_is_silent_too() {
    let mut stage = Stage::new(spec(members(3), 2));
    for round in 1..4 {
        let c = stage.contribution(3, stage.head(), stage.round() + 1, 0);
        stage.withheld.insert(c.record.update);
        stage.feed(Input::Contribution(c));
        stage.submit();
        stage.hear(2);
        stage.pass(if round == 1 { 2_000 } else { 700 });
        assert_eq!(stage.round(), round);
    }
}

#[test]
fn the_deadline_is_three_times_the_median_pace_below_the_ceiling() {
    let mut slow = spec(members(4), 3);
    slow.rounds.deadline_ms = None;
    let mut stage = Stage::new(slow);
    stage.submit();
    stage.hear(2);
    stage.hear(3);
    assert_eq!(
        stage.machine.open_round().deadline,
        Some(stage.now.after_ms(1_000)),
        "this node's pace on checkpoint 0: 0 ms"
    );
    stage.hear(4);
    stage.pass(1_000);
    assert_eq!(stage.round(), 1);
    let since = stage.now;
    stage.pass(2_000);
    stage.hear(2);
    let deadline = stage.machine.open_round().deadline.unwrap();
    let pace = deadline.since_ms(stage.now) / 3;
    assert!(
        (2_000..=3_000).contains(&pace),
        "about 2 s since the head came, got {pace} ms from {since:?}"
    );
    stage.pass(3_000);
    stage.hear(3);
    stage.hear(4);
    let length = stage.machine.open_round().deadline.unwrap().since_ms(deadline) + deadline.since_ms(since);
    assert!(length <= 10_000 + 3_000, "the ceiling holds: {length}");
}

#[test]
fn an_operator_ends_the_waiting_but_not_below_k() {
    let mut stage = Stage::new(spec(members(4), 3));
    stage.submit();
    stage.hear(2);
    stage.feed(Input::SealNow);
    stage.pass(500);
    assert_eq!(stage.round(), 0);
    stage.hear(3);
    stage.pass(900);
    assert_eq!(stage.round(), 1, "k are in, and nobody waits for the fourth");
}

#[test]
fn an_open_round_closes_at_its_target() {
    let mut stage = Stage::new(spec(Membership::Open, 2));
    stage.submit();
    stage.hear(2);
    assert_eq!(stage.round(), 0);
    stage.hear(77);
    stage.pass(700);
    assert_eq!(stage.round(), 1);
}

#[test]
fn a_follower_follows_and_signs_nothing() {
    let mut stage = Stage::of(spec(members(2), 2), 9, Some(8));
    let fresh = [stage.hear(1), stage.hear(2)];
    stage.pass(60_000);
    assert_eq!(stage.round(), 0);
    let sealed = stage.sealed_by(1, &fresh);
    assert_eq!(stage.head(), sealed);
    assert!(stage.signed_seals().is_empty() && stage.signed_contributions().is_empty());
    let error = stage.machine.check_base(&sealed).unwrap_err();
    assert!(error.to_string().contains("not a member"), "{error}");
}
