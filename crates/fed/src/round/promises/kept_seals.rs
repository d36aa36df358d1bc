//! The seals and proofs that a node keeps: a function of what it heard, not of the order.

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::record::{Membership, Proof, Seal, Signed};
use crate::round::stage::{Stage, members, node, signed, spec};
use crate::round::{Input, Output, RecordId};

fn id(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

/// A [`Seal`] on checkpoint 0 by member 7 of contributions that no node knows. With
/// seven of them it looks greater than any other.
fn junk(stage: &Stage, n: u64) -> Signed<Seal> {
    let fresh: Vec<_> = (0..7).map(|i| ContributionId(id(100 * n + i))).collect();
    stage.seal(7, stage.head(), 1, &fresh, &[])
}

fn held(stage: &Stage, seals: &[Signed<Seal>]) -> Vec<bool> {
    seals
        .iter()
        .map(|s| stage.holds(s.record.id(), s.record.round))
        .collect()
}

#[test]
fn a_seal_that_cannot_be_checked_takes_no_place_of_one_that_can_in_any_order() {
    let orders: [[usize; 4]; 4] = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]];
    for order in orders {
        let mut stage = Stage::new(spec(members(7), 4));
        stage.slow = true;
        let fresh: Vec<_> = (2..=6).map(|n| stage.hear(n)).collect();
        let seals = [
            junk(&stage, 1),
            junk(&stage, 2),
            stage.seal(7, stage.head(), 1, &fresh[..4], &[]),
            stage.seal(7, stage.head(), 1, &fresh, &[]),
        ];
        for i in order {
            stage.feed(Input::Seal(seals[i].clone()));
        }
        assert_eq!(held(&stage, &seals), [false, false, true, true], "{order:?}");
    }
}

#[test]
fn of_a_sealers_seals_of_one_round_the_best_stay_on_whatever_parents() {
    let mut stage = Stage::new(spec(members(7), 4));
    stage.slow = true;
    let zero = stage.head();
    let fresh: Vec<_> = (2..=7).map(|n| stage.hear(n)).collect();
    // Twelve checkpoints of round 1, two by each other member.
    let mut parents: Vec<CheckpointId> = vec![];
    for one in 0..6 {
        for two in 0..one {
            let four: Vec<_> = (0..6).filter(|i| *i != one && *i != two).map(|i| fresh[i]).collect();
            let by = u8::try_from(parents.len() / 2 + 1).unwrap();
            if by < 7 {
                let seal = stage.seal(by, zero, 1, &four, &[]);
                parents.push(seal.record.checkpoint().id());
                stage.feed(Input::Seal(seal));
            }
        }
    }
    let parents_count = parents.len();
    let mut all = vec![];
    for parent in parents {
        for n in 0..2 {
            let fresh: Vec<_> = (0..4).map(|i| ContributionId(id(1_000 * n + i))).collect();
            all.push(stage.seal(7, parent, 2, &fresh, &[]));
        }
    }
    all.iter().for_each(|s| stage.feed(Input::Seal(s.clone())));
    let count = held(&stage, &all).into_iter().filter(|held| *held).count();
    assert_eq!((parents_count, count), (12, 8));
}

#[test]
fn what_a_member_says_it_stands_on_is_held() {
    let mut stage = Stage::new(spec(members(7), 4));
    stage.slow = true;
    let fresh: Vec<_> = (2..=6).map(|n| stage.hear(n)).collect();
    let mut seals: Vec<_> = (0..5)
        .map(|skip| {
            let four: Vec<_> = (0..5).filter(|i| *i != skip).map(|i| fresh[i]).collect();
            stage.seal(7, stage.head(), 1, &four, &[])
        })
        .collect();
    seals.sort_by_key(|s| s.record.checkpoint().id());
    seals.iter().for_each(|s| stage.feed(Input::Seal(s.clone())));
    assert_eq!(held(&stage, &seals), [true, true, false, false, false]);
    let head = seals[4].record.checkpoint().id();
    for by in [7, 99] {
        stage.feed(Input::HeadClaim { by: node(by), head });
        stage.feed(Input::Seal(seals[4].clone()));
        assert!(
            !held(&stage, &seals)[4],
            "neither the sealer's own word nor a stranger's counts"
        );
    }
    stage.feed(Input::HeadClaim { by: node(3), head });
    stage.feed(Input::Seal(seals[4].clone()));
    assert_eq!(held(&stage, &seals), [true, true, false, false, true]);
}

#[test]
fn a_sealers_own_records_name_nothing() {
    let mut stage = Stage::new(spec(members(7), 4));
    stage.slow = true;
    for n in 0..50 {
        let seal = junk(&stage, n);
        let parent = seal.record.checkpoint().id();
        // The sealer has a child and a contribution of its own, before and after the seal.
        let fresh: Vec<_> = (0..4).map(|i| ContributionId(id(7_000 * n + i))).collect();
        let child = stage.seal(7, parent, 2, &fresh, &[]);
        let own = stage.contribution(7, parent, 2, 0);
        for input in [
            Input::Seal(child.clone()),
            Input::Contribution(own),
            Input::Seal(seal),
            Input::Seal(child),
        ] {
            stage.feed(input);
        }
    }
    let seals = stage
        .machine
        .records()
        .iter()
        .filter(|(_, id)| matches!(id, RecordId::Seal(_)))
        .count();
    assert!(seals <= 2 + 8, "{seals}");
}

#[test]
fn proofs_live_as_long_as_a_held_seal_names_them() {
    let mut stage = Stage::new(spec(members(7), 4));
    stage.slow = true;
    let fresh: Vec<_> = (2..=5).map(|n| stage.hear(n)).collect();
    for n in 0..500_u64 {
        let cast = |stage: &Stage, variant: u64| {
            let mut c = stage.contribution(6, stage.head(), 1, 0).record;
            c.samples = 1 + 2 * n + variant;
            signed(c)
        };
        let proof = Proof::new(cast(&stage, 0), cast(&stage, 1)).unwrap();
        stage.feed(Input::Seal(stage.seal_with(
            7,
            stage.head(),
            1,
            &fresh,
            &[],
            std::slice::from_ref(&proof),
        )));
        stage.feed(Input::Proof(proof));
    }
    let proofs = stage
        .machine
        .records()
        .iter()
        .filter(|(_, id)| matches!(id, RecordId::Proof(_)))
        .count();
    assert!(proofs <= 3, "those of two held seals and the lowest: {proofs}");
    assert_eq!(stage.disk.proofs.len(), proofs, "the store forgets them too");
}

#[test]
fn the_own_proposal_does_not_wait_for_strangers_seals() {
    let mut open = spec(Membership::Open, 2);
    open.rounds.target = Some(12);
    let mut stage = Stage::new(open);
    stage.slow = true;
    let fresh: Vec<_> = (2..=12).map(|n| stage.hear(n)).collect();
    // Strangers seal the round, each with other contributions and a wrong result.
    for n in 0..60 {
        let pair = [
            fresh[usize::try_from(n % 11).unwrap()],
            fresh[usize::try_from((n + 1 + n / 11) % 11).unwrap()],
        ];
        let mut seal = stage.seal(2, stage.head(), 1, &pair, &[]).record;
        seal.sealer = NodeId(id(n));
        seal.result.weights.0 = id(n + 1_000);
        stage.feed(Input::Seal(signed(seal)));
    }
    let before = stage.aggregations();
    assert!(before <= 1, "one recomputation at a time: {before}");
    stage.submit();
    let jobs = stage.said.iter().filter_map(|o| match o {
        Output::Aggregate(job) => Some(job.proposal.fresh.len()),
        _ => None,
    });
    assert_eq!(jobs.collect::<Vec<_>>()[before..], [12], "its own comes at once");
}

#[test]
fn others_who_build_on_a_sealers_chain_keep_all_of_it() {
    let mut stage = Stage::new(spec(members(7), 1));
    stage.slow = true;
    let zero = stage.head();
    let own = stage.contribution(7, zero, 1, 0);
    stage.feed(Input::Contribution(own.clone()));
    let first = stage.seal(7, zero, 1, &[own.record.id()], &[]);
    let on_first = stage.contribution(7, first.record.checkpoint().id(), 2, 0);
    let second = stage.seal(7, first.record.checkpoint().id(), 2, &[on_first.record.id()], &[]);
    let vote = stage.contribution(3, second.record.checkpoint().id(), 3, 0);
    stage.feed(Input::Seal(first.clone()));
    stage.feed(Input::Contribution(on_first));
    stage.feed(Input::Seal(second.clone()));
    stage.feed(Input::Contribution(vote));
    let others: Vec<_> = (2..=6).map(|n| stage.hear(n)).collect();
    for skip in 0..5 {
        let fresh: Vec<_> = (0..5).filter(|i| *i != skip).map(|i| others[i]).collect();
        stage.feed(Input::Seal(stage.seal(7, zero, 1, &fresh, &[])));
    }
    assert_eq!(held(&stage, &[first, second]), [true, true]);
}

#[test]
fn a_seal_that_would_not_be_held_asks_for_no_proofs() {
    let asks = |s: &Stage| {
        s.said
            .iter()
            .filter(|o| matches!(o, Output::WantRecords { .. }))
            .count()
    };
    let mut stage = Stage::new(spec(members(7), 4));
    stage.slow = true;
    let fresh: Vec<_> = (2..=5).map(|n| stage.hear(n)).collect();
    let cast = |stage: &Stage, variant| stage.contribution(6, stage.head(), 1, variant);
    let proof = |stage: &Stage, a, b| Proof::new(cast(stage, a), cast(stage, b)).unwrap();
    let (first, second) = (proof(&stage, 1, 2), proof(&stage, 3, 4));
    // Two proofs against one member make a seal invalid for ever, so it is looked at once.
    let twice = stage.seal_with(7, stage.head(), 1, &fresh, &[], &[first.clone(), second.clone()]);
    stage.feed(Input::Seal(twice.clone()));
    stage.feed(Input::Proof(first));
    stage.feed(Input::Proof(second));
    assert!(!held(&stage, std::slice::from_ref(&twice))[0]);
    let before = asks(&stage);
    stage.feed(Input::Seal(twice));
    assert_eq!(asks(&stage), before);
    // Two seals that can be checked are held already, so the junk is not worth a proof.
    stage.feed(Input::Seal(stage.seal(7, stage.head(), 1, &fresh, &[])));
    let other: Vec<_> = fresh[..3].iter().copied().chain([stage.hear(1)]).collect();
    stage.feed(Input::Seal(stage.seal(7, stage.head(), 1, &other, &[])));
    let before = asks(&stage);
    let unknown: Vec<_> = (0..4).map(|i| ContributionId(id(i))).collect();
    let third = proof(&stage, 5, 6);
    stage.feed(Input::Seal(stage.seal_with(
        7,
        stage.head(),
        1,
        &unknown,
        &[],
        &[third],
    )));
    assert_eq!(asks(&stage), before);
}
