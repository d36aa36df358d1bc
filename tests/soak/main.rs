//! Runs rounds for a long time: the resources that a node holds may not grow with the age of the model.
//!
//! `make soak` runs an hour in a release build and checks resident memory, too. `make test` runs 110 rounds, which say nothing
//! about memory, but enough about everything that is counted: records, descriptors, tasks and files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

mod reading;

use std::ops::ControlFlow;
use std::time::Duration;

use futures::future::join_all;
use qres_tests::trainer::{self, Trainer};
use qres_tests::{Options, Swarm};
use reading::Reading;
use tokio::time::Instant;

/// Number of nodes. Each has one trainer.
const NODES: usize = 4;
/// Number of parameters of the model: few, so that rounds follow each other as fast as they can.
const PARAMETERS: usize = 10_000;
/// Number of different weights that a trainer submits, one after the other.
const FILES: u64 = 8;

/// Length of the run, and the point from which it takes readings.
struct Plan {
    /// Duration of the run; `None` = the run ends after [`Plan::rounds`].
    time: Option<Duration>,
    rounds: u64,
    /// Round of the first reading. By then caches are full, and files of earlier rounds exist that can be overwritten.
    warm_up: u64,
    /// Time before the first reading. The mesh remembers for two minutes the messages that it has heard; on a fast machine, these
    /// are more rounds.
    warm_up_time: Duration,
    /// Least duration of a round. It keeps the number of rounds in these two minutes the same, whether or not the machine has
    /// other work.
    pace: Duration,
    /// Number of rounds from one [`Reading`] to the next.
    every: u64,
}

impl Plan {
    /// Takes the duration in seconds from `QRES_SOAK_SECONDS`. Without this variable, returns the short plan of `make test`.
    fn of_environment() -> Self {
        match std::env::var("QRES_SOAK_SECONDS") {
            Ok(seconds) => Self {
                time: Some(Duration::from_secs(
                    seconds.parse().expect("QRES_SOAK_SECONDS is a number"),
                )),
                rounds: u64::MAX,
                warm_up: 1_000,
                warm_up_time: Duration::from_secs(150),
                pace: Duration::from_millis(100),
                every: 250,
            },
            Err(_) => Self {
                time: None,
                rounds: 110,
                warm_up: 40,
                warm_up_time: Duration::ZERO,
                pace: Duration::from_millis(1),
                every: 10,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_holds_does_not_grow_with_the_age_of_a_model() {
    let plan = Plan::of_environment();
    let options = Options {
        arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let swarm = Swarm::start_with(NODES, &options).await;
    let trainers = Trainer::one_each(&swarm, "soak").await;
    let base = trainer::create(&swarm, &trainers, trainer::weights(PARAMETERS, 1.0)).await;
    let begun = Instant::now();
    let over = |round: u64| round >= plan.rounds || plan.time.is_some_and(|time| begun.elapsed() >= time);
    let loops = trainers
        .iter()
        .zip(&swarm.daemons)
        .enumerate()
        .map(|(i, (trainer, daemon))| {
            let files: Vec<_> = (0..FILES).map(|n| trainer::trained(PARAMETERS, i, n)).collect();
            let (base, plan) = (&base, &plan);
            async move {
                let (mut readings, mut next) = (vec![], plan.warm_up);
                let mut pace = tokio::time::interval(plan.pace);
                pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                let look = async |head: &qres_api::pb::Checkpoint| {
                    pace.tick().await;
                    if head.round >= next && begun.elapsed() >= plan.warm_up_time {
                        next = head.round + plan.every;
                        readings.push(Reading::of(daemon, head.round));
                    }
                    if over(head.round) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                trainer.train_on(base, &files, look).await;
                readings
            }
        });
    let all = join_all(loops).await;
    for (node, readings) in all.iter().enumerate() {
        reading::print(node, readings);
    }
    for readings in &all {
        reading::check(readings, plan.time.is_some());
    }
}
