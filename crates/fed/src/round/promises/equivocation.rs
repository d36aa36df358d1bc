//! Members that sign two contributions on one parent.

use crate::record::Proof;
use crate::round::stage::{Stage, members, node, result_of, spec};
use crate::round::{Input, Output, RecordId};

#[test]
fn two_contributions_on_one_parent_are_proof_and_neither_is_listed() {
    let mut stage = Stage::new(spec(members(4), 2));
    stage.submit();
    let one = stage.hear(4);
    let two = stage.contribution(4, stage.head(), 1, 1);
    stage.feed(Input::Contribution(two));
    assert!(stage.said.iter().any(|o| matches!(o, Output::SendProof(_))));
    assert!(
        stage
            .said
            .iter()
            .any(|o| matches!(o, Output::Equivocation { author, .. } if *author == node(4)))
    );
    stage.hear(2);
    stage.hear(3);
    stage.pass(1_000);
    let seal = stage.signed_seals().remove(0);
    assert_eq!(
        (seal.fresh.len(), seal.proofs.len()),
        (3, 1),
        "not waited for, not listed, but convicted"
    );
    assert!(!seal.fresh.contains(&one));
    // From then on the node's contributions are invalid in that chain.
    let next = stage.hear(4);
    let others = [stage.hear(2), next];
    let listed = stage.sealed_by(3, &others);
    assert!(stage.machine.checkpoint(&listed).is_none());
    assert!(
        stage.refused()[0].1.contains("by a convicted member"),
        "{:?}",
        stage.refused()
    );
}

#[test]
fn a_seal_that_lists_either_stays_valid_for_ever() {
    let mut stage = Stage::new(spec(members(4), 2));
    let four = stage.hear(4);
    let two = stage.hear(2);
    let zero = stage.head();
    let sealed = stage.sealed_by(2, &[two, four]);
    let again = stage.contribution(4, zero, 1, 1);
    stage.feed(Input::Contribution(again));
    assert_eq!(stage.head(), sealed);
    let restarted = stage.restart();
    assert_eq!(restarted.head(), sealed);
}

#[test]
fn as_votes_the_two_count_once() {
    let mut stage = Stage::new(spec(members(4), 2));
    let fresh = [stage.hear(2), stage.hear(3)];
    stage.sealed_by(2, &fresh);
    for variant in 0..5 {
        let vote = stage.contribution(4, stage.head(), 2, variant);
        stage.feed(Input::Contribution(vote));
    }
    stage.hear(3);
    assert!(!stage.machine.head().confirmed, "two of four, not a majority");
    stage.hear(2);
    assert!(stage.machine.head().confirmed);
    let held = stage.machine.records().iter().filter(|(round, _)| *round == 2).count();
    assert_eq!(held, 2 + 2 + 1, "two of the five, and the proof");
}

#[test]
fn a_proof_is_carried_once_and_only_by_who_knows_it() {
    let mut stage = Stage::new(spec(members(4), 2));
    let (a, b) = (
        stage.contribution(4, stage.head(), 1, 0),
        stage.contribution(4, stage.head(), 1, 1),
    );
    let proof = Proof::new(a, b).unwrap();
    let fresh = [stage.hear(2), stage.hear(3)];
    let seal = stage.seal_with(2, stage.head(), 1, &fresh, &[], std::slice::from_ref(&proof));
    let id = seal.record.checkpoint().id();
    stage.feed(Input::Seal(seal));
    assert_eq!(stage.round(), 0, "the proof is not here");
    assert!(
        stage
            .said
            .iter()
            .any(|o| matches!(o, Output::WantRecords { from } if *from == [node(2)]))
    );
    stage.feed(Input::Proof(proof.clone()));
    assert_eq!(stage.head(), id);
    let next = [stage.hear(2), stage.hear(3)];
    let twice = stage.seal_with(2, id, 2, &next, &[], &[proof]);
    stage.feed(Input::Seal(twice));
    assert!(stage.refused()[0].1.contains("convicted already"));
    stage.submit();
    stage.pass(2_000);
    assert!(stage.signed_seals().iter().all(|s| s.proofs.is_empty()));
    assert_eq!(stage.round(), 2);
}

/// A liar keeps a row of proofs against itself, and sends one lower than the other while the round that names one is computed.
#[test]
fn lower_proofs_neither_stop_a_round_nor_make_it_be_computed_again() {
    let mut stage = Stage::new(spec(members(4), 2));
    stage.slow = true;
    let proof = |variant| {
        let [one, two] = [variant, variant + 1].map(|variant| stage.contribution(4, stage.head(), 1, variant));
        Proof::new(one, two).unwrap()
    };
    let mut proofs: Vec<_> = (0..10).map(|i| proof(2 * i)).collect();
    proofs.sort_by_key(Proof::id);
    let highest = proofs.pop().unwrap();
    stage.feed(Input::Proof(highest.clone()));
    stage.submit();
    stage.hear(2);
    stage.hear(3);
    for lower in proofs.iter().rev() {
        stage.feed(Input::Proof(lower.clone()));
    }
    let mut jobs = stage.said.iter().filter_map(|o| match o {
        Output::Aggregate(job) => Some(job.clone()),
        _ => None,
    });
    let (job, more) = (jobs.next().expect("a job"), jobs.count());
    assert_eq!(more, 0, "one computation");
    let result = result_of(&job.proposal);
    stage.feed(Input::Aggregated {
        proposal: job.id,
        result,
    });
    stage.pass_to_round(1, 60_000);
    assert_eq!(stage.signed_seals().remove(0).proofs, [highest.id()]);
    let held = |id| stage.machine.keeps(&RecordId::Proof(id));
    let held = proofs.iter().filter(|proof| held(proof.id())).count();
    assert_eq!(held, 1, "of the others only the lowest");
}
