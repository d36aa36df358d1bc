//! The checkpoint that a node stands on: equal knowledge gives equal heads.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::round::stage::{Stage, deliver, members, records_of, spec};
use crate::round::{Input, Output};

#[test]
fn a_quorum_on_top_confirms() {
    let mut stage = Stage::new(spec(members(3), 2));
    let fresh = [stage.hear(2), stage.hear(3)];
    let one = stage.sealed_by(2, &fresh);
    assert!(!stage.machine.head().confirmed, "provisional");
    assert!(
        stage
            .machine
            .checkpoint(&stage.machine.head().parent.unwrap())
            .unwrap()
            .confirmed
    );
    stage.hear(2);
    assert!(!stage.machine.head().confirmed, "one vote of three");
    stage.hear(3);
    assert!(stage.machine.head().confirmed);
    assert!(stage.said.contains(&Output::Confirmed(one)));
}

#[test]
fn votes_swing_the_head_and_nobody_signs_twice() {
    let mut stage = Stage::new(spec(members(5), 3));
    let zero = stage.head();
    let all: Vec<_> = (2..=5).map(|n| stage.hear(n)).collect();
    let three = stage.sealed_by(2, &all[..3]);
    assert_eq!(stage.head(), three);
    stage.submit();
    let other = stage.seal(3, zero, 1, &all[1..], &[]);
    let other_id = other.record.checkpoint().id();
    stage.feed(Input::Seal(other));
    assert_eq!(stage.head(), three, "one vote on it, none on the other");
    for by in [3, 4] {
        let vote = stage.contribution(by, other_id, 2, 0);
        stage.feed(Input::Contribution(vote));
    }
    assert_eq!(stage.head(), other_id, "two votes to one");
    stage.submit();
    let signed = stage.signed_contributions();
    assert_eq!(signed.iter().filter(|c| c.parent == three).count(), 1);
    assert_eq!(signed.iter().filter(|c| c.parent == other_id).count(), 1);
    assert!(stage.machine.proof(&crate::id::ProofId([0; 32])).is_none() && stage.refused().is_empty());
}

/// Ranked by the round alone, this node would stay on its own branch, which the
/// others refuse below their horizon (docs/adr/0001).
#[test]
fn a_minority_that_ran_ahead_alone_comes_back_to_what_the_majority_confirmed() {
    let mut alone = Stage::new(spec(members(3), 1));
    for _ in 0..20 {
        alone.submit();
        alone.pass(2_000);
    }
    assert_eq!(alone.round(), 20);
    assert_eq!(alone.machine.confirmed_head().round, 0);
    let mut both = Stage::of(spec(members(3), 1), 2, Some(8));
    for _ in 0..15 {
        both.submit();
        both.hear(3);
        both.pass(2_000);
    }
    assert_eq!(both.machine.confirmed_head().round, 14);
    let theirs = records_of(&both);
    let mine = records_of(&alone);
    deliver(&mut alone, theirs);
    deliver(&mut both, mine);
    assert_eq!(alone.head(), both.head());
    assert_eq!(alone.round(), 15);
}

/// Two branches, a split vote, an equivocator and late work.
fn history() -> (Vec<Input>, crate::record::Spec) {
    let spec = spec(members(5), 3);
    let mut stage = Stage::of(spec.clone(), 9, None);
    let zero = stage.head();
    let c: Vec<_> = (1..=5).map(|n| stage.contribution(n, zero, 1, 0)).collect();
    let ids: Vec<_> = c.iter().map(|c| c.record.id()).collect();
    let twice = stage.contribution(5, zero, 1, 1);
    let a = stage.seal(1, zero, 1, &ids[..3], &[]);
    let b = stage.seal(2, zero, 1, &ids[1..4], &[]);
    let (on_a, on_b) = (a.record.checkpoint().id(), b.record.checkpoint().id());
    let votes: Vec<_> = [(1, on_a), (2, on_a), (3, on_b), (4, on_b), (5, on_b), (3, on_a)]
        .into_iter()
        .map(|(n, parent)| stage.contribution(n, parent, 2, 0))
        .collect();
    let vote_ids: Vec<_> = votes.iter().map(|c| c.record.id()).collect();
    let second = stage.seal(3, on_b, 2, &vote_ids[2..5], &[ids[0]]);
    let other = stage.seal(1, on_a, 2, &[vote_ids[0], vote_ids[1], vote_ids[5]], &[ids[3]]);
    let mut all: Vec<_> = c
        .into_iter()
        .chain([twice])
        .chain(votes)
        .map(Input::Contribution)
        .collect();
    all.extend([a, b, second, other].map(Input::Seal));
    deliver(&mut stage, all.clone());
    assert_eq!(stage.round(), 2);
    (all, spec)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn equal_knowledge_gives_equal_heads_in_any_order(picks in prop::collection::vec(any::<Index>(), 40), cut in any::<Index>()) {
        let (mut records, spec) = history();
        let mut ordered = Stage::of(spec.clone(), 8, None);
        deliver(&mut ordered, records.clone());
        for (i, pick) in picks.iter().enumerate() {
            let i = i % records.len();
            let j = pick.index(records.len());
            records.swap(i, j);
        }
        let mut shuffled = Stage::of(spec.clone(), 9, None);
        deliver(&mut shuffled, records.clone());
        prop_assert_eq!(ordered.head(), shuffled.head());
        prop_assert_eq!(ordered.machine.confirmed_head(), shuffled.machine.confirmed_head());
        // First a part of the records comes, then a restart, then all: the head is as if the node had never been away.
        let part = cut.index(records.len());
        let mut away = Stage::of(spec, 7, None);
        deliver(&mut away, records[..part].to_vec());
        let mut back = away.restart();
        deliver(&mut back, records);
        prop_assert_eq!(ordered.head(), back.head());
    }
}
