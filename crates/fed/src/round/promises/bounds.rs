//! Memory and work stay bounded, even if a node floods this one.

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::record::{BlobRole, Membership};
use crate::round::stage::{Stage, members, signed, spec};
use crate::round::{Input, Machine, Output, Restored};

fn id(n: u64) -> [u8; 32] {
    *blake3::hash(&n.to_le_bytes()).as_bytes()
}

#[test]
fn a_member_that_floods_contributions_is_held_to_a_few() {
    let mut stage = Stage::new(spec(members(3), 2));
    for n in 0..2_000 {
        let mut on_head = stage.contribution(3, stage.head(), 1, 0);
        on_head.record.samples = n + 1;
        stage.feed(Input::Contribution(on_head));
        let mut nowhere = stage.contribution(3, CheckpointId(id(n)), 5, 0);
        nowhere.record.round = n + 1;
        stage.feed(Input::Contribution(nowhere));
    }
    assert!(
        stage.machine.records().len() <= 3,
        "two, and the proof: {}",
        stage.machine.records().len()
    );
    assert!(stage.machine.live_blobs().len() <= 4);
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1, "nobody else is hurt");
}

#[test]
fn a_member_that_grinds_seals_is_held_to_two_a_parent() {
    let mut stage = Stage::new(spec(members(7), 4));
    stage.slow = true;
    let zero = stage.head();
    let all: Vec<_> = (1..=7).filter(|n| *n != 1).map(|n| stage.hear(n)).collect();
    let mut ids = vec![];
    for skip in 0..6 {
        for skip_too in 0..skip {
            let fresh: Vec<_> = (0..6)
                .filter(|i| *i != skip && *i != skip_too)
                .map(|i| all[i])
                .collect();
            let seal = stage.seal(7, zero, 1, &fresh, &[]);
            ids.push((seal.record.checkpoint().id(), seal.record.id()));
            stage.feed(Input::Seal(seal));
        }
    }
    ids.sort_unstable();
    let held: Vec<_> = ids.iter().filter(|(_, seal)| stage.holds(*seal, 1)).collect();
    assert_eq!(held, [&ids[0], &ids[1]], "the best two, in whatever order they came");
    assert!(stage.aggregations() <= 2);
}

#[test]
fn chains_of_seals_that_nobody_can_check_are_bounded() {
    let mut stage = Stage::new(spec(members(3), 2));
    let mut parent = stage.head();
    for n in 1..40_000 {
        let mut fresh = [ContributionId(id(n)), ContributionId(id(n + 1_000_000))];
        fresh.sort_unstable();
        let seal = stage.seal(3, parent, n, &fresh, &[]);
        parent = seal.record.checkpoint().id();
        stage.feed(Input::Seal(seal));
    }
    assert!(
        stage.machine.records().len() <= 32_768 / 3 + 1,
        "{}",
        stage.machine.records().len()
    );
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
}

#[test]
fn seals_that_nobody_can_check_keep_no_round_of_an_open_model_open() {
    let mut stage = Stage::new(spec(Membership::Open, 2));
    for sealer in 0..9 {
        let mut parent = stage.head();
        for n in 1..=5_000 {
            let mut fresh = [ContributionId(id(n)), ContributionId(id(n + 1_000_000))];
            fresh.sort_unstable();
            let mut seal = stage.seal(2, parent, n, &fresh, &[]);
            seal.record.sealer = NodeId(id(sealer));
            seal.record.result.weights.0 = id(sealer + 100 * n);
            parent = seal.record.checkpoint().id();
            stage.feed(Input::Seal(seal));
        }
    }
    let held = stage.machine.records().len();
    assert!(held <= 32_768, "{held}");
    stage.submit();
    let mine = stage.signed_contributions()[0].id();
    let two = stage.hear(2);
    let sealed = stage.sealed_by(2, &[mine, two]);
    assert_eq!((stage.round(), stage.head()), (1, sealed));
}

#[test]
fn strangers_cannot_fill_an_open_model() {
    let mut stage = Stage::new(spec(Membership::Open, 2));
    stage.submit();
    for n in 0..3_000 {
        let mut c = stage.contribution(2, stage.head(), 1, 0);
        c.record.author = NodeId(id(n));
        c.record.update.0 = id(n + 7);
        stage.withheld.insert(c.record.update);
        stage.feed(Input::Contribution(c.clone()));
        c.record.parent = CheckpointId(id(n));
        c.record.round = n + 2;
        stage.feed(Input::Contribution(c.clone()));
        let seal = stage.seal(
            2,
            CheckpointId(id(n)),
            n + 2,
            &[c.record.id(), ContributionId(id(n))],
            &[],
        );
        let mut seal = seal.record;
        seal.sealer = NodeId(id(n));
        stage.feed(Input::Seal(signed(seal)));
    }
    assert!(
        stage.machine.records().len() <= 513,
        "{}",
        stage.machine.records().len()
    );
}

#[test]
fn strangers_cannot_fill_the_disk_of_an_open_model() {
    // This node did not contribute, so it does not seal, and the round stays open.
    let mut stage = Stage::new(spec(Membership::Open, 2));
    for n in 0..100 {
        let mut c = stage.contribution(2, stage.head(), 1, 0);
        c.record.author = NodeId(id(n));
        c.record.update.0 = id(n + 7);
        stage.feed(Input::Contribution(c));
    }
    let wanted = |o: &&Output| {
        matches!(
            o,
            Output::WantBlob {
                role: BlobRole::Update,
                ..
            }
        )
    };
    assert_eq!(stage.said.iter().filter(wanted).count(), 6, "twice the target");
    // The limit is the same for late contributions.
    let mut stage = Stage::new(spec(Membership::Open, 2));
    let zero = stage.head();
    stage.submit();
    stage.hear(2);
    stage.pass(2_000);
    assert_eq!(stage.round(), 1);
    stage.said.clear();
    for n in 0..100 {
        let mut c = stage.contribution(2, zero, 1, 0);
        c.record.author = NodeId(id(n));
        c.record.update.0 = id(n + 7);
        stage.feed(Input::Contribution(c));
    }
    assert_eq!(stage.said.iter().filter(wanted).count(), 6, "twice the target");
}

/// Measures no time: if the work of an input grew with the history, this test would not end.
#[test]
fn ten_thousand_rounds_of_eight_members() {
    let mut stage = Stage::of(spec(members(8), 5), 9, Some(16));
    for _ in 0..10_000 {
        let fresh: Vec<_> = (1..=8).map(|n| stage.hear(n)).collect();
        stage.sealed_by(1, &fresh);
        stage.said.clear();
        stage.disk = crate::round::Restored::default();
    }
    assert_eq!(stage.round(), 10_000);
    // The limit counts two rounds that wait for votes, 16 rounds that are kept, and the seals of five more.
    let held = stage.machine.records().len();
    assert!(held <= (2 + 16) * 9 + 5 + 9, "{held}");
}

#[test]
fn a_checkpoint_0_that_is_no_weights_is_asked_for_once() {
    let mut stage = Stage::new(spec(members(1), 1));
    stage.said.clear();
    let (machine, _) = Machine::new(stage.spec.clone(), stage.config.clone(), Restored::default(), stage.now);
    stage.machine = machine;
    let zero = stage.spec.checkpoint0;
    stage.feed(Input::BlobBad {
        blob: zero,
        role: BlobRole::Weights,
    });
    let asked = stage
        .said
        .iter()
        .filter(|o| matches!(o, Output::WantBlob { blob, .. } if *blob == zero));
    assert_eq!(asked.count(), 0);
}
