//! Members of different paces: a slow one costs the others little, and its work is in.

use std::collections::BTreeMap;

use crate::id::{CheckpointId, NodeId};
use crate::round::stage::{Stage, members, node, spec};
use crate::round::{Input, SubmissionState};

/// Milliseconds between two looks at the machine and the trainers.
const STEP_MS: u64 = 10;

/// A member that trains on each head it sees, from the moment it is free.
struct Trainer {
    member: u8,
    pace_ms: u64,
    done_at: u64,
    base: (CheckpointId, u64),
    contributed: u64,
}

/// The outcome of some rounds.
struct Run {
    /// Mean duration of a round in milliseconds.
    mean_round: u64,
    /// Contributions by member: handed in, listed as fresh, listed as late.
    work: BTreeMap<NodeId, [u64; 3]>,
}

impl Run {
    /// Share of a member's work that is in checkpoints, in percent.
    fn listed(&self, member: u8) -> u64 {
        let [handed_in, fresh, late] = self.work[&node(member)];
        100 * (fresh + late) / handed_in
    }
}

/// Runs members 1, 2, … that train at these paces (in milliseconds), with the
/// default deadline, until `rounds` rounds are sealed.
fn run(paces: &[u64], k: u32, rounds: u64) -> Run {
    let mut spec = spec(members(u8::try_from(paces.len()).unwrap()), k);
    spec.rounds.deadline_ms = None;
    spec.rounds.deadline_ms_max = 30_000;
    spec.rounds.max_staleness = 10;
    let mut stage = Stage::of(spec, 1, None);
    stage.feed(Input::DelayMs(1));
    let zero = (stage.head(), 0);
    let train = |(member, pace_ms): (u8, &u64)| Trainer {
        member,
        pace_ms: *pace_ms,
        done_at: *pace_ms,
        base: zero,
        contributed: 0,
    };
    let mut trainers: Vec<_> = (1..).zip(paces).map(train).collect();
    let mut now = 0;
    while stage.round() < rounds {
        now += STEP_MS;
        assert!(now < rounds * 60_000, "the rounds go on");
        stage.pass(STEP_MS);
        for trainer in &mut trainers {
            step(&mut stage, trainer, now);
        }
        seal_if_full(&mut stage, k);
    }
    let mut work: BTreeMap<_, _> = trainers
        .iter()
        .map(|t| (node(t.member), [t.contributed, 0, 0]))
        .collect();
    for round in 1..=rounds {
        for c in stage.machine.round(round).unwrap().contributions {
            work.get_mut(&c.author.unwrap()).unwrap()[1 + usize::from(c.late)] += 1;
        }
    }
    Run {
        mean_round: now / rounds,
        work,
    }
}

/// Lets the first in rank, member 2, seal at once when no member is missing.
fn seal_if_full(stage: &mut Stage, k: u32) {
    let open = stage.machine.open_round();
    let ids = |late: bool| -> Vec<_> {
        let listed = open.contributions.iter().filter(|c| c.late == late);
        listed.map(|c| c.id).collect()
    };
    let (fresh, late) = (ids(false), ids(true));
    if open.missing.is_empty() && fresh.len() >= k as usize {
        let seal = stage.seal(2, open.parent, open.round, &fresh, &late);
        stage.feed(Input::Seal(seal));
    }
}

fn step(stage: &mut Stage, trainer: &mut Trainer, now: u64) {
    if trainer.done_at == now {
        let (base, round) = trainer.base;
        trainer.contributed += 1;
        if trainer.member == 1 {
            let id = stage.submit_on(base, "trainer");
            assert!(!matches!(stage.state(id), SubmissionState::Rejected { .. }));
        } else {
            let c = stage.contribution(trainer.member, base, round + 1, 0);
            stage.feed(Input::Contribution(c));
        }
    }
    let head = (stage.head(), stage.round());
    if trainer.done_at <= now && head != trainer.base {
        trainer.base = head;
        trainer.done_at = now + trainer.pace_ms;
    }
}

#[test]
fn one_straggler_among_four_costs_the_others_little_and_its_work_is_in() {
    for slow in [5_000, 10_000] {
        let run = run(&[1_000, 1_000, 1_000, slow], 3, 50);
        assert!(run.mean_round <= 1_300, "{slow}: a round takes {} ms", run.mean_round);
        assert!(run.listed(4) >= 80, "{slow}: {:?}", run.work);
    }
}

#[test]
fn the_fast_minority_does_not_shut_out_the_others() {
    let run = run(&[300, 300, 2_000, 2_000, 2_000], 2, 50);
    for slow in 3..=5 {
        assert!(run.listed(slow) >= 90, "{:?}", run.work);
        assert!(run.work[&node(slow)][1] >= 40, "in time: {:?}", run.work);
    }
}

#[test]
fn a_member_within_three_paces_is_waited_for() {
    let run = run(&[1_000, 1_100, 900, 2_500], 3, 50);
    assert!(run.work[&node(4)][1] >= 48, "{:?}", run.work);
}

#[test]
fn fast_rounds_do_not_wait_for_a_straggler_either() {
    let run = run(&[400, 400, 400, 2_000], 3, 50);
    assert!(run.mean_round <= 520, "a round takes {} ms", run.mean_round);
    assert!(run.listed(4) >= 80, "{:?}", run.work);
}

#[test]
fn who_comes_just_after_each_seal_costs_fewer_and_fewer_deadlines() {
    let mut stage = Stage::new(spec(members(3), 2));
    stage.feed(Input::DelayMs(1));
    let (mut waited, rounds) = (0, 60);
    while stage.round() < rounds {
        let (before, head) = (stage.round(), stage.head());
        stage.submit();
        stage.hear(2);
        stage.pass(500);
        if stage.round() == before {
            waited += 1;
            stage.pass(1_000);
        }
        // The contribution comes right after the seal; by its own clock the member is as fast as the others.
        let late = stage.contribution(3, head, before + 1, 0);
        stage.feed(Input::Contribution(late));
    }
    assert!(waited <= 6, "{waited} of {rounds} rounds waited for it");
}
