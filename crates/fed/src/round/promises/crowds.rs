//! The records that an open model keeps, and their cost, when identities come by the thousand.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::record::{Content, Membership, Proof, Seal, Signed};
use crate::round::stage::{Stage, node, signed, spec};
use crate::round::{Input, Output, RecordId, Restored};

/// Limits as documented: unnamed seals per parent and per round, and proofs against authors of whom nothing is held.
const PER_PARENT: usize = 512;
const PER_ROUND: usize = 1_024;
const SPARE_PROOFS: usize = 1_024;

fn id(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

fn open() -> Stage {
    let mut stage = Stage::new(spec(Membership::Open, 2));
    stage.slow = true;
    stage
}

/// A [`Seal`] by stranger `by` of two contributions that no node knows; `n` makes several.
fn seal(stage: &Stage, by: u64, parent: CheckpointId, round: u64, n: u64) -> Signed<Seal> {
    let fresh = [0, 1].map(|i| ContributionId(id(1_000_000 * by + 10 * n + i)));
    let mut seal = stage.seal(2, parent, round, &fresh, &[]).record;
    seal.sealer = NodeId(id(by));
    signed(seal)
}

/// A [`Proof`] against stranger `by`: two contributions on one checkpoint.
fn proof(stage: &Stage, by: u64, parent: CheckpointId, round: u64) -> Proof {
    let [one, two] = [0, 1].map(|variant| {
        let mut c = stage.contribution(2, parent, round, 0);
        c.record.author = NodeId(id(by));
        c.record.update.0 = id(1_000_000 * by + variant);
        c
    });
    Proof::new(one, two).unwrap()
}

/// Three orders: as given, turned round, and sorted by the hash of the position.
fn orders<T: Clone>(all: &[T]) -> [Vec<T>; 3] {
    let mut mixed: Vec<_> = all.iter().cloned().enumerate().collect();
    mixed.sort_by_key(|(n, _)| id(*n as u64 + 77));
    [
        all.to_vec(),
        all.iter().rev().cloned().collect(),
        mixed.into_iter().map(|(_, one)| one).collect(),
    ]
}

fn held_seals(stage: &Stage) -> BTreeSet<CheckpointId> {
    let records = stage.machine.records().iter();
    let seals = records.filter_map(|(_, id)| match id {
        RecordId::Seal(id) => Some(stage.machine.seal(id)?.record.checkpoint().id()),
        _ => None,
    });
    seals.collect()
}

fn held_proofs(stage: &Stage) -> usize {
    let proofs = |(_, id): &&(u64, RecordId)| matches!(id, RecordId::Proof(_));
    stage.machine.records().iter().filter(proofs).count()
}

fn ids(seals: &[Signed<Seal>]) -> Vec<CheckpointId> {
    let mut ids: Vec<_> = seals.iter().map(|s| s.record.checkpoint().id()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn of_all_strangers_seals_on_a_parent_the_best_stay_in_any_order() {
    let zero = open().head();
    let all: Vec<_> = (0..600).map(|by| seal(&open(), by, zero, 1, 0)).collect();
    let best: BTreeSet<_> = ids(&all).into_iter().take(PER_PARENT).collect();
    for order in orders(&all) {
        let mut stage = open();
        order.into_iter().for_each(|s| stage.feed(Input::Seal(s)));
        assert!(held_seals(&stage) == best);
        assert_eq!(stage.disk.seals.len(), PER_PARENT, "the store forgets the others too");
        assert!(held_seals(&stage.restart()) == best);
    }
}

#[test]
fn as_many_seals_as_a_parent_has_room_for_are_all_held() {
    let mut stage = open();
    let zero = stage.head();
    for by in 0..PER_PARENT as u64 {
        stage.feed(Input::Seal(seal(&stage, by, zero, 1, 0)));
    }
    assert_eq!(held_seals(&stage).len(), PER_PARENT);
}

#[test]
fn each_sealers_best_stands_above_anyones_second() {
    let zero = open().head();
    let (mut firsts, mut seconds, mut all) = (vec![], vec![], vec![]);
    for by in 0..300 {
        let mut two = [0, 1].map(|n| seal(&open(), by, zero, 1, n));
        two.sort_by_key(|s| s.record.checkpoint().id());
        firsts.push(two[0].clone());
        seconds.push(two[1].clone());
        all.extend(two);
    }
    let mut best: BTreeSet<_> = ids(&firsts).into_iter().collect();
    best.extend(ids(&seconds).into_iter().take(PER_PARENT - 300));
    for order in orders(&all) {
        let mut stage = open();
        order.into_iter().for_each(|s| stage.feed(Input::Seal(s)));
        assert!(held_seals(&stage) == best);
    }
}

#[test]
fn a_seal_that_can_be_checked_has_its_place_whoever_floods() {
    let mut stage = open();
    let zero = stage.head();
    let fresh = [stage.hear(2), stage.hear(3)];
    let right = stage.seal(2, zero, 1, &fresh, &[]);
    let third = stage.hear(4);
    let late = stage.seal(3, zero, 1, &[fresh[0], third], &[]);
    stage.feed(Input::Seal(right.clone()));
    for by in 0..600 {
        stage.feed(Input::Seal(seal(&stage, by, zero, 1, 0)));
    }
    stage.feed(Input::Seal(late.clone()));
    for right in [right, late] {
        assert!(stage.holds(right.record.id(), 1));
    }
    assert_eq!(held_seals(&stage).len(), PER_PARENT);
}

#[test]
fn a_seal_whose_contributions_come_later_rises_in_the_order() {
    let mut stage = open();
    let zero = stage.head();
    let [one, two] = [2, 3].map(|by| stage.contribution(by, zero, 1, 0));
    let mut right = stage.seal(2, zero, 1, &[one.record.id(), two.record.id()], &[]).record;
    // The result gives the highest of many ids, so the seal is the first to go while it cannot be checked.
    let results = (0..3_000).map(|n| Content::of_weights(crate::id::BlobId(id(n))));
    right.result = results
        .max_by_key(|result| {
            let mut seal = right.clone();
            seal.result = *result;
            seal.checkpoint().id()
        })
        .unwrap();
    let right = signed(right);
    stage.feed(Input::Seal(right.clone()));
    [one, two].into_iter().for_each(|c| stage.feed(Input::Contribution(c)));
    for by in 0..600 {
        stage.feed(Input::Seal(seal(&stage, by, zero, 1, 0)));
    }
    assert!(stage.holds(right.record.id(), 1));
}

#[test]
fn what_others_build_on_takes_no_place_until_they_leave_it() {
    let mut stage = open();
    let zero = stage.head();
    let mut all: Vec<_> = (0..600).map(|by| seal(&stage, by, zero, 1, 0)).collect();
    all.sort_by_key(|s| s.record.checkpoint().id());
    let head = |n: usize| all[n].record.checkpoint().id();
    // Two of the 600 are named: the last one, and the first one after those that have a place.
    stage.feed(Input::HeadClaim {
        by: node(2),
        head: head(599),
    });
    let mut vote = stage.contribution(3, head(PER_PARENT), 2, 0);
    vote.record.source = None;
    stage.feed(Input::Contribution(vote));
    all.iter().for_each(|s| stage.feed(Input::Seal(s.clone())));
    let held = held_seals(&stage);
    assert_eq!(held.len(), PER_PARENT + 2);
    assert!(held.contains(&head(599)) && held.contains(&head(PER_PARENT)));
    // The only node that stands on the last checkpoint goes back to checkpoint 0.
    stage.feed(Input::HeadClaim {
        by: node(2),
        head: zero,
    });
    let held = held_seals(&stage);
    assert!(!held.contains(&head(599)));
    assert_eq!(held.len(), PER_PARENT + 1);
    // The node stands on a checkpoint that had a place, so the next sync brings another one in.
    stage.feed(Input::HeadClaim {
        by: node(2),
        head: head(3),
    });
    all.iter().for_each(|s| stage.feed(Input::Seal(s.clone())));
    let held = held_seals(&stage);
    assert_eq!(held.len(), PER_PARENT + 2);
    assert!(held.contains(&head(PER_PARENT + 1)));
}

#[test]
fn a_second_sealer_takes_a_checkpoint_no_place() {
    // The checkpoint is the best one of its first sealer, and the third one of its second sealer.
    let stage = open();
    let zero = stage.head();
    let mut theirs: Vec<_> = (0..50).map(|n| seal(&stage, 7, zero, 1, n)).collect();
    theirs.sort_by_key(|s| s.record.checkpoint().id());
    let ours = theirs.split_off(20).remove(0);
    let mut first = ours.clone();
    first.record.sealer = NodeId(id(8));
    for order in [
        [&first, &ours, &theirs[0], &theirs[1]],
        [&ours, &first, &theirs[1], &theirs[0]],
    ] {
        let mut stage = open();
        order.into_iter().for_each(|s| stage.feed(Input::Seal(s.clone())));
        assert_eq!(held_seals(&stage).len(), 3);
    }
}

#[test]
fn of_a_rounds_seals_on_all_parents_the_best_stay() {
    let stage = open();
    let zero = stage.head();
    let parents: Vec<_> = (0..3).map(|by| seal(&stage, by, zero, 1, 0)).collect();
    let mut all = vec![];
    for (n, parent) in parents.iter().enumerate() {
        let by = 1_000 * (n as u64 + 1);
        let parent = parent.record.checkpoint().id();
        all.extend((by..by + 400).map(|by| seal(&stage, by, parent, 2, 0)));
    }
    let best: BTreeSet<_> = ids(&all).into_iter().take(PER_ROUND).collect();
    for order in orders(&all) {
        let mut stage = open();
        parents.iter().for_each(|s| stage.feed(Input::Seal(s.clone())));
        order.into_iter().for_each(|s| stage.feed(Input::Seal(s)));
        let mut held = held_seals(&stage);
        ids(&parents).iter().for_each(|id| assert!(held.remove(id)));
        assert!(held == best);
    }
}

#[test]
fn of_the_proofs_against_strangers_the_lowest_stay_in_any_order() {
    let zero = open().head();
    let all: Vec<_> = (0..1_100).map(|by| proof(&open(), by, zero, 1)).collect();
    let mut best: Vec<_> = all.iter().map(Proof::id).collect();
    best.sort_unstable();
    best.truncate(SPARE_PROOFS);
    for order in orders(&all) {
        let mut stage = open();
        order.into_iter().for_each(|p| stage.feed(Input::Proof(p)));
        assert!(best.iter().all(|id| stage.machine.proof(id).is_some()));
        assert_eq!(
            (held_proofs(&stage), stage.disk.proofs.len()),
            (SPARE_PROOFS, SPARE_PROOFS)
        );
        assert_eq!(held_proofs(&stage.restart()), SPARE_PROOFS);
    }
}

#[test]
fn however_many_are_convicted_the_next_equivocator_is_excluded() {
    let mut stage = Stage::new(spec(Membership::Open, 2));
    let zero = stage.head();
    for by in 0..2_000 {
        stage.feed(Input::Proof(proof(&stage, by, zero, 1)));
    }
    // Three equivocators: one proof comes after the first contribution, one before it and again after it, one never.
    let first = proof(&stage, 5_000, zero, 1);
    let (second, third) = (proof(&stage, 5_001, zero, 1), proof(&stage, 5_002, zero, 1));
    stage.feed(Input::Contribution(first.first.clone()));
    stage.feed(Input::Proof(first.clone()));
    stage.feed(Input::Proof(second.clone()));
    stage.feed(Input::Contribution(second.first.clone()));
    stage.feed(Input::Proof(second.clone()));
    stage.feed(Input::Contribution(third.first.clone()));
    stage.feed(Input::Contribution(third.second.clone()));
    let ours = [stage.hear(2), stage.hear(3)];
    stage.submit();
    stage.pass(2_000);
    let sealed = stage.signed_seals().remove(0);
    assert_eq!(sealed.fresh.len(), 3);
    assert!(ours.iter().all(|id| sealed.fresh.contains(id)));
    let mut convicted = [first, second, third].map(|p| p.id());
    convicted.sort_unstable();
    assert_eq!(sealed.proofs, convicted, "of those whose work could count");
    let excluded = |o: &Output| matches!(o, Output::Equivocation { author, .. } if *author == NodeId(id(5_002)));
    assert!(stage.said.iter().any(excluded));
}

#[test]
fn convictions_on_the_chain_take_no_place() {
    // This node keeps all rounds, because the proofs of archived rounds are archived with them.
    let mut stage = Stage::of(spec(Membership::Open, 2), 1, None);
    stage.slow = true;
    for round in 0..20 {
        let head = stage.head();
        let proofs: Vec<_> = (0..64)
            .map(|n| proof(&stage, 64 * round + n, head, round + 1))
            .collect();
        proofs.iter().for_each(|p| stage.feed(Input::Proof(p.clone())));
        let fresh = [stage.hear(2), stage.hear(3)];
        let mut seal = stage.seal_with(2, head, round + 1, &fresh, &[], &proofs);
        stage.slow = false;
        seal.record.sealer = node(2);
        stage.feed(Input::Seal(seal));
        assert_eq!(stage.round(), round + 1);
    }
    assert_eq!(held_proofs(&stage), 1_280);
    let head = stage.head();
    stage.feed(Input::Proof(proof(&stage, 9_999, head, 21)));
    assert_eq!(held_proofs(&stage), 1_281);
    assert_eq!(held_proofs(&stage.restart()), 1_281);
}

#[test]
fn a_proof_is_spare_again_when_the_contributions_are_forgotten() {
    let mut stage = Stage::of(spec(Membership::Open, 2), 9, Some(8));
    for by in 0..64 {
        let p = proof(&stage, by, stage.head(), 1);
        stage.feed(Input::Contribution(p.first));
        stage.feed(Input::Contribution(p.second));
    }
    for by in 1_000..3_000 {
        let p = proof(&stage, by, stage.head(), 1);
        stage.feed(Input::Proof(p));
    }
    assert_eq!(held_proofs(&stage), SPARE_PROOFS + 64);
    for _ in 0..30 {
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
    assert!(stage.machine.horizon() > 2);
    assert_eq!(held_proofs(&stage), SPARE_PROOFS);
}

#[test]
fn wrong_seals_by_the_hundred_are_each_computed_once() {
    let mut stage = open();
    stage.slow = false;
    let zero = stage.head();
    let fresh: Vec<_> = (2..=20).map(|by| stage.hear(by)).collect();
    let mut by = 100;
    for one in 0..fresh.len() {
        for two in 0..one {
            let mut seal = stage.seal(2, zero, 1, &[fresh[one], fresh[two]], &[]).record;
            seal.sealer = NodeId(id(by));
            seal.result.weights.0 = id(by);
            by += 1;
            stage.feed(Input::Seal(signed(seal)));
        }
    }
    assert_eq!((stage.round(), stage.aggregations()), (0, 171));
}

/// Measures no time: if the work of an input grew with the identities, this test would not end.
#[test]
fn six_thousand_identities_contribute_equivocate_and_seal() {
    crowd(6_000, 0);
}

/// Repeats the crowd with one more identity per checkpoint that names it, so that all checkpoints stay.
#[test]
fn six_thousand_checkpoints_that_others_build_on() {
    let stage = crowd(6_000, 1);
    assert!(held_seals(&stage).len() > 5_000);
}

fn crowd(n: u64, votes: u8) -> Stage {
    let mut stage = open();
    let zero = stage.head();
    let fresh: Vec<_> = (2..=13).map(|by| stage.hear(by)).collect();
    for by in 0..n {
        let p = proof(&stage, by, zero, 1);
        stage.feed(Input::Contribution(p.first.clone()));
        stage.feed(Input::Contribution(p.second.clone()));
        stage.feed(Input::Proof(p));
        let one = by as usize % 12;
        let pair = [fresh[one], fresh[(one + 1 + (by as usize / 12) % 11) % 12]];
        let mut seal = stage.seal(2, zero, 1, &pair, &[]).record;
        seal.sealer = NodeId(id(by));
        seal.result.weights.0 = id(by + 3_000_000);
        let checkpoint = seal.checkpoint().id();
        stage.feed(Input::Seal(signed(seal)));
        for vote in 0..votes {
            let mut vote = stage.contribution(vote, checkpoint, 2, 0);
            vote.record.author = NodeId(id(by + 9_000_000));
            vote.record.source = None;
            stage.feed(Input::Contribution(vote));
        }
        stage.said.clear();
        stage.disk = Restored::default();
    }
    stage
}
