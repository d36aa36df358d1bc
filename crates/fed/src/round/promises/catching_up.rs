//! A node comes back after any time: attestation, the horizon, trust.

use std::collections::BTreeSet;

use crate::id::{BlobId, CheckpointId, ContributionId};
use crate::record::{BlobRole, Content, Membership};
use crate::round::stage::{Stage, deliver, members, node, records_of, spec};
use crate::round::{Input, Output, RecordId, Refusal, Restored, Root};

fn ran(mut stage: Stage, rounds: u64) -> Stage {
    for _ in 0..rounds {
        let fresh = [stage.hear(2), stage.hear(3)];
        stage.sealed_by(2, &fresh);
    }
    stage
}

#[test]
fn a_list_member_catches_up_with_one_download() {
    let others = ran(Stage::of(spec(members(3), 2), 9, Some(4)), 40);
    let mut back = Stage::new(others.spec.clone());
    deliver(&mut back, records_of(&others));
    assert_eq!(back.head(), others.head());
    let weights = |o: &&Output| {
        matches!(
            o,
            Output::WantBlob {
                role: BlobRole::Weights,
                ..
            }
        )
    };
    let asked = back.said.iter().filter(weights).count();
    assert!(
        asked <= 4,
        "checkpoint 0, and what was attested when the votes came: {asked}"
    );
    assert!(
        back.aggregations() <= 8,
        "and the few rounds on top: {}",
        back.aggregations()
    );
}

#[test]
fn an_open_model_is_recomputed_or_caught_up_with_on_a_trusted_word() {
    let mut open = spec(Membership::Open, 2);
    open.rounds.max_staleness = 1;
    let all = ran(Stage::of(open.clone(), 9, None), 20);
    let mut patient = Stage::of(open.clone(), 8, None);
    deliver(&mut patient, records_of(&all));
    assert_eq!((patient.head(), patient.aggregations()), (all.head(), 20));
    let forgetful = ran(Stage::of(open.clone(), 9, Some(3)), 20);
    let mut stuck = Stage::of(open, 8, None);
    deliver(&mut stuck, records_of(&forgetful));
    assert_eq!(
        stuck.round(),
        0,
        "what the others forgot cannot be recomputed, and two strangers' word is worth nothing"
    );
    stuck.feed(Input::Trust(BTreeSet::from([node(2)])));
    assert_eq!(stuck.head(), forgetful.head());
}

#[test]
fn below_the_horizon_only_a_few_seals_of_the_heads_branch_stay_and_older_ones_go_to_the_archive() {
    let stage = ran(Stage::of(spec(members(3), 2), 9, Some(6)), 30);
    let horizon = stage.machine.horizon();
    assert_eq!(horizon, 28 - 6, "round 29 is confirmed and so settles 28");
    for (round, id) in stage.machine.records() {
        assert!(
            *round > horizon || matches!(id, RecordId::Seal(_)),
            "{id:?} of round {round}"
        );
    }
    let seals = stage
        .machine
        .records()
        .iter()
        .filter(|(_, id)| matches!(id, RecordId::Seal(_)))
        .count();
    // The root lies the four rounds of staleness and one more below the horizon.
    let root = horizon - 5;
    assert_eq!((stage.machine.root_round(), seals as u64), (root, 30 - root + 1));
    assert!(stage.archive.keys().copied().eq(1..root));
    assert_eq!(stage.machine.round(root - 1), None);
    let live = stage.machine.live_blobs();
    assert!(live.len() <= 3 * 8 + 2, "{} blobs", live.len());
    assert!(live.contains(&stage.spec.checkpoint0), "who joins begins with it");
    let again = stage.restart();
    assert_eq!((again.head(), again.machine.horizon()), (stage.head(), horizon));
    assert_eq!((again.machine.root_round(), &again.archive), (root, &stage.archive));
}

#[test]
fn an_unconfirmed_branch_from_below_the_horizon_is_refused_and_reported() {
    let mut stage = ran(Stage::of(spec(members(3), 1), 9, Some(6)), 30);
    let zero = stage.spec.zero().0;
    let other = stage.contribution(1, zero, 1, 0);
    stage.feed(Input::Contribution(other.clone()));
    let seal = stage.seal(1, zero, 1, &[other.record.id()], &[]);
    stage.feed(Input::Seal(seal.clone()));
    assert!(!stage.holds(seal.record.id(), 1));
    assert!(stage.refused()[0].1.contains("below the horizon"));
    let honest = (node(1), Refusal::Useless);
    assert_eq!(stage.refusals(), [honest], "it may have been cut off from the others");
}

/// With k below a majority, a member on both sides of a partition can have both sides confirmed.
#[test]
fn a_branch_from_below_the_horizon_that_a_quorum_confirms_is_adopted() {
    let mut mine = Stage::of(spec(members(3), 1), 1, Some(6));
    let mut theirs = Stage::of(spec(members(3), 1), 2, Some(6));
    for (stage, rounds) in [(&mut mine, 30), (&mut theirs, 40)] {
        for _ in 0..rounds {
            stage.submit();
            stage.hear(3);
            stage.pass(2_000);
        }
    }
    assert!(mine.machine.horizon() > 20 && theirs.machine.horizon() > 30);
    let (a, b) = (records_of(&mine), records_of(&theirs));
    // The first sync shows that a quorum stands on an unknown checkpoint, and the second sync finds the way there.
    for _ in 0..2 {
        deliver(&mut mine, b.clone());
        deliver(&mut theirs, a.clone());
    }
    assert_eq!(mine.head(), theirs.head());
    assert_eq!(mine.round(), 40);
}

/// Checks the cost of a lie. While a quorum stands on an unknown checkpoint, which happens whenever a seal is late, one seal of
/// one member asks for the archive.
#[test]
fn what_a_member_makes_others_read_of_the_archive_costs_them_little() {
    let mut stage = ran(Stage::of(spec(members(3), 2), 9, Some(6)), 30);
    let lie = |stage: &mut Stage| {
        let fresh = [stage.hear(2), stage.hear(3)];
        let late = stage.seal(2, stage.head(), stage.round() + 1, &fresh, &[]);
        let unknown = late.record.checkpoint().id();
        for member in [2, 3] {
            let c = stage.contribution(member, unknown, stage.round() + 2, 0);
            stage.feed(Input::Contribution(c));
        }
        stage.said.clear();
        // The seals come again and again, and of two rounds: the deeper round is read too, while the first one is in memory.
        for round in [9, 9, 3, 9] {
            let low = stage.seal(3, CheckpointId([7; 32]), round, &fresh, &[]);
            stage.feed(Input::Seal(low));
        }
        let read = |o: &&Output| matches!(o, Output::WantArchived { .. });
        let reads = stage.said.iter().filter(read).count();
        let root = stage.machine.root_round();
        stage.feed(Input::Seal(late));
        assert_eq!(
            stage.machine.root_round(),
            stage.machine.horizon() - 5,
            "all is archived again"
        );
        (reads, root)
    };
    assert_eq!(lie(&mut stage), (2, 0));
    let (reads, root) = lie(&mut stage);
    assert!(reads == 0 && root > 15, "{reads} reads, root {root}");
    // Some 20 rounds were taken back, so the archive rests for 80 ms.
    stage.pass(40);
    assert_eq!(lie(&mut stage).0, 0);
    stage.pass(60);
    assert_eq!(lie(&mut stage), (2, 0));
    let told: Vec<_> = stage.archive.keys().copied().collect();
    assert!(
        told.into_iter().eq(1..stage.machine.root_round()),
        "nothing is lost on the way"
    );
}

#[test]
fn at_most_so_many_rounds_come_back_from_the_archive() {
    let reads = |below: u64| {
        let model = Stage::new(spec(members(3), 2));
        let root = Root {
            id: CheckpointId([5; 32]),
            round: 50_000,
            parent: Some(CheckpointId([4; 32])),
            content: Content::of_weights(BlobId([3; 32])),
            convicted: BTreeSet::new(),
        };
        let disk = Restored {
            root: Some(root),
            ..Restored::default()
        };
        let mut stage = Stage::uncompared(model.spec, model.config, disk, model.now);
        for member in [2, 3] {
            let c = stage.contribution(member, CheckpointId([6; 32]), 50_002, 0);
            stage.feed(Input::Contribution(c));
        }
        // Five rounds more are read, because late contributions of theirs may be listed.
        let (one, two) = (ContributionId([1; 32]), ContributionId([2; 32]));
        let seal = stage.seal(3, CheckpointId([7; 32]), 50_000 - below + 6, &[one, two], &[]);
        stage.feed(Input::Seal(seal));
        stage.said.iter().any(|o| matches!(o, Output::WantArchived { .. }))
    };
    assert!(reads(32_768));
    assert!(!reads(32_769));
}

#[test]
fn a_restart_asks_again_for_what_was_missing() {
    let mut stage = Stage::new(spec(members(3), 2));
    let c = stage.contribution(2, stage.head(), 1, 0);
    stage.withheld.insert(c.record.update);
    stage.feed(Input::Contribution(c.clone()));
    let mut again = stage.restart();
    let wants = |s: &Stage| {
        s.said
            .iter()
            .any(|o| matches!(o, Output::WantBlob { blob, .. } if *blob == c.record.update))
    };
    assert!(wants(&again));
    again.submit();
    again.hear(3);
    again.pass(2_000);
    assert_eq!(again.round(), 1);
}

#[test]
fn nothing_goes_on_before_checkpoint_0_is_here() {
    let mut spec = spec(members(2), 2);
    spec.checkpoint0 = BlobId([1; 32]);
    let zero = spec.zero().0;
    let config = crate::round::Config {
        node: node(1),
        trainers: 1,
        merge_margin_ms: 100,
        keep_rounds: None,
        members: crate::round::MembersPolicy::Ask,
    };
    let (mut machine, outputs) =
        crate::round::Machine::new(spec.clone(), config, Restored::default(), crate::id::Instant(0));
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::WantBlob { blob, role: BlobRole::Weights, .. } if *blob == spec.checkpoint0))
    );
    assert!(!outputs.iter().any(|o| matches!(o, Output::Head { .. })));
    assert!(!machine.head().verified);
    assert!(machine.check_base(&zero).is_err());
    let outputs = machine.handle(
        Input::BlobHere {
            blob: spec.checkpoint0,
            role: BlobRole::Weights,
        },
        crate::id::Instant(1),
    );
    assert!(
        outputs
            .iter()
            .any(|o| matches!(o, Output::Head { checkpoint, .. } if *checkpoint == zero))
    );
    assert_eq!(machine.check_base(&zero), Ok(()));
}
