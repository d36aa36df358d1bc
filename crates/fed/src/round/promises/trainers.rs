//! The trainers that a node waits for.

use crate::round::stage::{Stage, members, spec};
use crate::round::{Config, Input, SubmissionState};

/// A [`Stage`] for a list of one member, so that each merge is a round.
fn alone(trainers: u32) -> Stage {
    let stage = Stage::new(spec(members(1), 1));
    let config = Config {
        trainers,
        ..stage.config.clone()
    };
    Stage::with(stage.spec.clone(), config, stage.disk.clone(), stage.now)
}

/// Runs one round in which these trainers submit, each after its milliseconds. Returns for each trainer true if its work was
/// taken, and the milliseconds that the round took.
fn round(stage: &mut Stage, trainers: &[(&str, u64)]) -> (Vec<bool>, u64) {
    let (base, before, begun) = (stage.head(), stage.round(), stage.now);
    let mut taken = vec![];
    for (name, at) in trainers {
        stage.pass(at - stage.now.since_ms(begun));
        taken.push(submit(stage, base, name));
    }
    while stage.round() == before {
        stage.pass(10);
    }
    (taken, stage.now.since_ms(begun))
}

/// Submits like the daemon: work that cannot be taken is refused before it is stored, and the machine is told of the attempt.
fn submit(stage: &mut Stage, base: crate::id::CheckpointId, name: &str) -> bool {
    if stage.machine.check_base(&base).is_err() {
        stage.feed(Input::TrainerHere(name.to_owned()));
        return false;
    }
    let id = stage.submit_on(base, name);
    !matches!(stage.state(id), SubmissionState::Rejected { .. })
}

#[test]
fn a_trainer_that_misses_one_merge_is_waited_for_again() {
    let mut stage = alone(2);
    round(&mut stage, &[("a", 0)]);
    for _ in 0..50 {
        let (taken, _) = round(&mut stage, &[("a", 0), ("b", 400)]);
        assert_eq!(taken, [true, true]);
    }
}

#[test]
fn one_that_was_refused_once_is_waited_for_from_then_on() {
    let mut stage = alone(2);
    // Both trainers are known, then one is away for long.
    round(&mut stage, &[("a", 0), ("b", 10)]);
    for _ in 0..20 {
        round(&mut stage, &[("a", 0)]);
    }
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..50 {
        match round(&mut stage, &[("a", 0), ("b", 400)]).0[1] {
            true => taken += 1,
            false => refused += 1,
        }
    }
    assert!(refused <= 4, "{refused} refused, {taken} taken");
}

#[test]
fn one_that_is_gone_costs_few_deadlines() {
    let mut stage = alone(2);
    round(&mut stage, &[("a", 0), ("b", 10)]);
    let waited = (0..60).filter(|_| round(&mut stage, &[("a", 0)]).1 >= 500).count();
    assert_eq!(waited, 1, "once, as it is not heard again");
}

#[test]
fn one_that_is_too_late_for_every_deadline_costs_fewer_and_fewer() {
    let mut stage = alone(2);
    round(&mut stage, &[("a", 0), ("b", 10)]);
    let mut waited = 0;
    for _ in 0..60 {
        let base = stage.head();
        let (_, took) = round(&mut stage, &[("a", 0)]);
        waited += usize::from(took >= 500);
        submit(&mut stage, base, "b");
    }
    assert!(waited <= 5, "{waited} of 60 rounds waited");
}

#[test]
fn names_that_change_at_every_start_neither_pile_up_nor_are_waited_for() {
    let mut stage = alone(1);
    for n in 0..200 {
        let name = format!("pod-{n}");
        let (taken, took) = round(&mut stage, &[(&name, 0)]);
        assert!(taken[0] && took < 100, "{name} took {took} ms");
    }
}
