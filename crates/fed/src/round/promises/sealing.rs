//! The order of sealers, and the rules for valid seals.

use crate::id::BlobId;
use crate::round::stage::{Stage, members, node, spec};
use crate::round::{Input, Output, Refusal};

/// Runs one round of three members on each member's machine. Returns the times at which each
/// would seal, ascending, in ms after all are in.
fn turns(delay_ms: Option<u64>) -> Vec<u64> {
    let turn = |me: u8| {
        let mut stage = Stage::of(spec(members(3), 2), me, Some(8));
        if let Some(ms) = delay_ms {
            stage.feed(Input::DelayMs(ms));
        }
        stage.submit();
        for other in (1..=3).filter(|n| *n != me) {
            stage.hear(other);
        }
        let begun = stage.now;
        while stage.signed_seals().is_empty() {
            stage.pass(10);
        }
        stage.now.since_ms(begun)
    };
    let mut turns: Vec<_> = (1..=3).map(turn).collect();
    turns.sort_unstable();
    turns
}

#[test]
fn members_take_turns_and_the_stagger_follows_the_delay() {
    assert_eq!(turns(None), [0, 300, 600]);
    assert_eq!(turns(Some(200)), [0, 600, 1_200]);
    assert_eq!(turns(Some(1)), [0, 250, 500], "timers are not finer");
}

#[test]
fn all_compute_at_once_when_all_are_in() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    stage.hear(2);
    stage.hear(3);
    assert_eq!(stage.aggregations(), 1, "whoever's turn it is");
    stage.pass(5_000);
    assert_eq!(stage.aggregations(), 1);
}

#[test]
fn a_seal_that_nobody_can_recompute_is_no_child() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    let two = stage.hear(2);
    let three = stage.contribution(3, stage.head(), 1, 0);
    stage.withheld.insert(three.record.update);
    stage.feed(Input::Contribution(three.clone()));
    let hidden = stage.sealed_by(3, &[two, three.record.id()]);
    assert_ne!(stage.head(), hidden);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1, "the next in rank goes on");
    assert_ne!(stage.head(), hidden);
    let wanted = stage
        .said
        .iter()
        .any(|o| matches!(o, Output::WantBlob { blob, .. } if *blob == three.record.update));
    assert!(wanted);
}

#[test]
fn the_open_round_s_updates_are_owed_by_their_authors_and_older_ones_by_none() {
    let mut stage = Stage::new(spec(members(4), 2));
    let base = stage.head();
    let early = stage.contribution(3, base, 1, 0);
    stage.withheld.insert(early.record.update);
    stage.feed(Input::Contribution(early.clone()));
    let owing = |stage: &Stage, update: BlobId| {
        let asked = stage.said.iter().rev().find_map(|o| match o {
            Output::WantBlob { blob, owed_by, .. } if *blob == update => Some(*owed_by),
            _ => None,
        });
        asked.expect("it was asked for")
    };
    assert_eq!(owing(&stage, early.record.update), Some(node(3)));
    stage.submit();
    stage.hear(2);
    stage.pass(10_000);
    assert_eq!(stage.round(), 1);
    // The contribution comes late, so its author may have dropped the update.
    let late = stage.contribution(4, base, 1, 0);
    stage.withheld.insert(late.record.update);
    stage.feed(Input::Contribution(late.clone()));
    assert_eq!(owing(&stage, late.record.update), None);
}

#[test]
fn a_forged_result_is_refused_and_its_author_named() {
    let mut stage = Stage::new(spec(members(3), 2));
    let fresh = [stage.hear(2), stage.hear(3)];
    let mut seal = stage.seal(3, stage.head(), 1, &fresh, &[]);
    seal.record.result.weights = BlobId([7; 32]);
    let id = seal.record.id();
    stage.feed(Input::Seal(seal.clone()));
    assert_eq!(stage.round(), 0);
    let (author, reason) = stage.refused().remove(0);
    assert_eq!(author, node(3));
    assert_eq!(stage.refusals(), [(author, Refusal::Fault)]);
    assert!(reason.contains("its result is 0707"), "{reason}");
    stage.feed(Input::Seal(seal));
    assert!(!stage.holds(id, 1), "it is not taken a second time");
    assert_eq!(stage.refused().len(), 1);
    stage.sealed_by(2, &fresh);
    assert_eq!(stage.round(), 1, "the right one is");
}

#[test]
fn what_is_off_the_schema_is_never_aggregated() {
    let mut stage = Stage::new(spec(members(3), 2));
    let bad = stage.contribution(3, stage.head(), 1, 0);
    stage.bad.insert(bad.record.update);
    stage.feed(Input::Contribution(bad.clone()));
    assert_eq!(stage.refused()[0].0, node(3));
    let two = stage.hear(2);
    let listed = stage.sealed_by(3, &[two, bad.record.id()]);
    assert!(
        stage.machine.checkpoint(&listed).is_none(),
        "a seal that lists it is invalid"
    );
    stage.submit();
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
    let round = stage.machine.round(1).unwrap();
    assert!(round.contributions.iter().all(|c| c.author != Some(node(3))));
}

#[test]
fn seals_that_break_a_rule_are_refused() {
    let mut stage = Stage::new(spec(members(4), 3));
    let zero = stage.head();
    let fresh = [stage.hear(2), stage.hear(3), stage.hear(4)];
    let again = stage.contribution(4, zero, 1, 1);
    stage.feed(Input::Contribution(again.clone()));
    let elsewhere = stage.contribution(2, zero, 7, 5);
    let good = stage.seal(2, zero, 1, &fresh, &[]);
    let broken = |change: &dyn Fn(&mut crate::record::Seal)| {
        let mut seal = good.clone();
        change(&mut seal.record);
        Input::Seal(seal)
    };
    let cases = [
        (broken(&|s| s.spec.0[0] ^= 1), "not this model's"),
        (broken(&|s| s.sealer = node(9)), "no member"),
        (broken(&|s| s.fresh.reverse()), "do not ascend"),
        (
            broken(&|s| s.fresh.truncate(2)),
            "lists 2 fresh contributions, the spec asks for 3",
        ),
        (broken(&|s| s.round = 5), "its parent is round 0's"),
        (broken(&|s| s.late = vec![s.fresh[0]]), "as fresh and as late"),
        (
            Input::Seal(stage.seal(2, zero, 1, &[fresh[1], fresh[2], again.record.id()], &[])),
            "two fresh contributions by",
        ),
        (Input::Contribution(elsewhere), "names round 7"),
    ];
    for (input, reason) in cases {
        let before = stage.refused().len();
        stage.feed(input);
        let refused = stage.refused();
        assert_eq!(refused.len(), before + 1, "{reason}");
        assert!(
            refused[before].1.contains(reason),
            "{:?} should say {reason:?}",
            refused[before]
        );
    }
    stage.feed(Input::Seal(good));
    assert_eq!(stage.round(), 1, "unharmed");
}
