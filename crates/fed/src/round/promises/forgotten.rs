//! Cases that earlier tests and simulations did not notice. Each of these tests once failed alone, with one line of the machine
//! changed (docs/testing.md, mutants).

use crate::record::{BlobRole, Proof};
use crate::round::stage::{Stage, members, node, spec};
use crate::round::{Input, Output};

#[test]
fn a_proof_survives_a_crash() {
    let mut stage = Stage::new(spec(members(4), 2));
    stage.hear(4);
    stage.feed(Input::Contribution(stage.contribution(4, stage.head(), 1, 1)));
    // Only the proof is left: the contributions are two records of many.
    stage.disk.contributions.clear();
    let again = stage.restart();
    assert_eq!(again.machine.open_round().excluded, [node(4)]);
}

#[test]
fn who_is_convicted_on_a_branch_has_no_vote_there() {
    let mut stage = Stage::new(spec(members(5), 2));
    let zero = stage.head();
    let proof = Proof::new(stage.contribution(5, zero, 1, 0), stage.contribution(5, zero, 1, 1)).unwrap();
    stage.feed(Input::Proof(proof.clone()));
    let fresh = [stage.hear(2), stage.hear(3)];
    // Both ways are tested: votes that wait until the checkpoint is known, and votes that come after it.
    for early in [true, false] {
        let mut stage = stage.restart();
        let seal = stage.seal_with(2, zero, 1, &fresh, &[], std::slice::from_ref(&proof));
        let sealed = seal.record.checkpoint().id();
        let votes = [2, 3, 5].map(|by| stage.contribution(by, sealed, 2, 0));
        if early {
            votes.iter().for_each(|c| stage.feed(Input::Contribution(c.clone())));
        }
        stage.feed(Input::Seal(seal));
        votes.iter().for_each(|c| stage.feed(Input::Contribution(c.clone())));
        assert_eq!(stage.head(), sealed);
        assert_eq!(stage.machine.confirmed_head().round, 0, "two of five, early {early}");
        stage.feed(Input::Contribution(stage.contribution(4, sealed, 2, 0)));
        assert_eq!(stage.machine.confirmed_head().round, 1);
    }
}

#[test]
fn who_is_convicted_has_no_vote_on_a_checkpoint_that_comes_back_either() {
    let mut stage = Stage::new(spec(members(5), 2));
    let zero = stage.head();
    let proof = Proof::new(stage.contribution(5, zero, 1, 0), stage.contribution(5, zero, 1, 1)).unwrap();
    stage.feed(Input::Proof(proof.clone()));
    let fresh = [stage.hear(2), stage.hear(3)];
    let seal = stage.seal_with(2, zero, 1, &fresh, &[], &[proof]);
    let sealed = seal.record.checkpoint().id();
    stage.feed(Input::Seal(seal.clone()));
    for by in [2, 3] {
        stage.feed(Input::Contribution(stage.contribution(by, sealed, 2, 0)));
    }
    stage.feed(Input::Contribution(stage.contribution(5, sealed, 2, 0)));
    // The branch of the checkpoint is dropped, and the contributions on it stay.
    stage.machine.drop_branch(&sealed);
    stage.feed(Input::Seal(seal));
    assert_eq!(stage.head(), sealed);
    assert_eq!(stage.machine.confirmed_head().round, 0, "two of five");
    stage.feed(Input::Contribution(stage.contribution(4, sealed, 2, 0)));
    assert_eq!(stage.machine.confirmed_head().round, 1);
}

#[test]
fn a_convicted_node_knows_its_proof_when_no_seal_in_memory_names_it() {
    let mut stage = Stage::of(spec(members(3), 2), 1, Some(2));
    let zero = stage.head();
    let [first, second] = [1, 2].map(|variant| stage.contribution(1, zero, 1, variant));
    let proof = Proof::new(first.clone(), second.clone()).unwrap();
    for own in [first, second] {
        stage.feed(Input::Contribution(own));
    }
    let fresh = [stage.hear(2), stage.hear(3)];
    let seal = stage.seal_with(2, zero, 1, &fresh, &[], std::slice::from_ref(&proof));
    stage.feed(Input::Seal(seal));
    while stage.round() < 60 {
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
    assert!(stage.machine.root_round() > 1, "the seal is in the archive");
    let convicted = stage.machine.conditions().convicted.expect("it is convicted");
    assert_eq!(convicted.proof, Some(proof.id()));
}

#[test]
fn a_round_goes_to_the_archive_with_its_proofs_though_a_restart_began_at_it() {
    let mut stage = Stage::of(spec(members(5), 2), 1, Some(2));
    let zero = stage.head();
    let [first, second] = [1, 2].map(|variant| stage.contribution(5, zero, 1, variant));
    let proof = Proof::new(first.clone(), second.clone()).unwrap();
    for equivocal in [first, second] {
        stage.feed(Input::Contribution(equivocal));
    }
    let fresh = [2, 3, 4].map(|by| stage.hear(by));
    let seal = stage.seal_with(2, zero, 1, &fresh, &[], std::slice::from_ref(&proof));
    stage.feed(Input::Seal(seal));
    let rounds_until_root = |stage: &mut Stage, root: u64| {
        for _ in 0..100 {
            if stage.machine.root_round() < root {
                let fresh = [2, 3, 4].map(|by| stage.hear(by));
                stage.sealed_by(2, &fresh);
            }
        }
        assert_eq!(stage.machine.root_round(), root);
    };
    rounds_until_root(&mut stage, 1);
    let mut again = stage.restart();
    rounds_until_root(&mut again, 2);
    // A newcomer keeps a seal aside until it has the proofs that the seal names.
    assert_eq!(again.archive[&1].proofs, [proof]);
}

#[test]
fn after_a_restart_the_own_contribution_and_the_own_seal_are_sent_again() {
    let mut stage = Stage::new(spec(members(1), 1));
    stage.submit();
    assert_eq!(stage.round(), 1);
    let sends_seal = |s: &Stage| s.said.iter().any(|o| matches!(o, Output::SendSeal(_)));
    assert!(sends_seal(&stage.restart()), "nobody else may have it");
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    let again = stage.restart();
    assert!(again.said.iter().any(|o| matches!(o, Output::SendContribution(_))));
}

#[test]
fn an_update_that_turns_out_bad_takes_earlier_seals_along() {
    let mut stage = Stage::new(spec(members(4), 2));
    let fresh = [stage.hear(2), stage.hear(3)];
    let bad = stage.contribution(4, stage.head(), 1, 0);
    stage.withheld.insert(bad.record.update);
    stage.feed(Input::Contribution(bad.clone()));
    let sealed = stage.sealed_by(2, &[fresh[0], fresh[1], bad.record.id()]);
    assert!(stage.machine.checkpoint(&sealed).is_some(), "its update is on the way");
    stage.feed(Input::BlobBad {
        blob: bad.record.update,
        role: BlobRole::Update,
    });
    assert!(stage.machine.checkpoint(&sealed).is_none());
    assert!(
        stage.refused().iter().any(|(by, _)| *by == node(2)),
        "the sealer is told of"
    );
}

#[test]
fn late_work_is_taken_up_to_the_limit_and_not_a_round_later() {
    // The spec of the stage takes contributions up to four rounds late.
    for (behind, taken) in [(4, true), (5, false)] {
        let mut stage = Stage::of(spec(members(4), 2), 9, None);
        let old = stage.contribution(4, stage.head(), 1, 0);
        let late = old.record.id();
        stage.feed(Input::Contribution(old));
        for _ in 0..behind {
            let fresh = [stage.hear(2), stage.hear(3)];
            stage.sealed_by(2, &fresh);
        }
        let fresh = [stage.hear(2), stage.hear(3)];
        let seal = stage.seal(2, stage.head(), behind + 1, &fresh, &[late]);
        let sealed = seal.record.checkpoint().id();
        stage.feed(Input::Seal(seal));
        assert_eq!(stage.head() == sealed, taken, "{behind} rounds behind");
    }
}

#[test]
fn the_horizon_stays_two_rounds_below_what_may_still_be_listed() {
    let mut stage = Stage::of(spec(members(3), 2), 9, Some(0));
    for _ in 0..20 {
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
    assert_eq!(stage.machine.settled_head().round, 18);
    assert_eq!(stage.machine.horizon(), 18 - 4 - 2);
}

#[test]
fn the_next_in_rank_seals_when_the_first_does_not() {
    for me in 1..=3 {
        let mut stage = Stage::of(spec(members(3), 2), me, Some(8));
        stage.submit();
        (1..=3).filter(|by| *by != me).for_each(|by| {
            stage.hear(by);
        });
        stage.pass(2_000);
        assert_eq!(stage.round(), 1, "member {me}, first or last");
    }
}

#[test]
fn who_is_convicted_is_not_counted_in_and_not_waited_for() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.submit();
    stage.hear(3);
    assert_eq!(stage.machine.open_round().contributions.len(), 2);
    stage.feed(Input::Contribution(stage.contribution(3, stage.head(), 1, 1)));
    let open = stage.machine.open_round();
    assert_eq!(
        (open.contributions.len(), open.missing, open.excluded),
        (1, vec![node(2)], vec![node(3)])
    );
}

#[test]
fn nobody_is_in_and_missing_at_once() {
    let mut stage = Stage::new(spec(members(3), 2));
    let c = stage.contribution(2, stage.head(), 1, 0);
    stage.withheld.insert(c.record.update);
    stage.feed(Input::Contribution(c));
    stage.submit();
    let open = stage.machine.open_round();
    let authors: Vec<_> = open.contributions.iter().filter_map(|c| c.author).collect();
    assert_eq!((authors, open.missing), (vec![node(1)], vec![node(2), node(3)]));
}
