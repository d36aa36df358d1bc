//! Counts how often heads fork when nothing slows the trainers down: rounds in which some node held more than one seal.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use qres_tests::Swarm;
use qres_tests::trainer::{self, Trainer};

/// Number of parameters of the model: few, so that rounds follow each other as fast as they can.
const PARAMETERS: usize = 10_000;
/// Number of rounds of each run.
const ROUNDS: u64 = 100;
/// Number of different weights that a trainer submits, one after the other.
const FILES: u64 = 8;

/// Counts and prints the forked rounds of a [`Swarm`]: first on a machine that has nothing else to do, then beside one busy
/// thread on each processor. Each trainer runs a loop of its own.
pub async fn count(swarm: &Swarm) {
    println!("\n{PARAMETERS} parameters, trainers that return at once, each in a loop of its own:");
    let quiet = forked(swarm, "quiet").await;
    println!("forked rounds           {quiet:>8}      of {ROUNDS}   (goal 0)");
    let stop = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..processors()).map(|_| spin(Arc::clone(&stop))).collect();
    let loaded = forked(swarm, "busy").await;
    stop.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().expect("a busy thread");
    }
    println!(
        "forked rounds           {loaded:>8}      of {ROUNDS}   beside a busy thread on each processor (goal <= 2)"
    );
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn spin(stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    })
}

async fn forked(swarm: &Swarm, name: &'static str) -> usize {
    let trainers = Trainer::one_each(swarm, name).await;
    let base = trainer::create(swarm, &trainers, trainer::weights(PARAMETERS, 1.0)).await;
    let loops = trainers.iter().enumerate().map(|(i, trainer)| {
        let files: Vec<_> = (0..FILES).map(|n| trainer::trained(PARAMETERS, i, n)).collect();
        forks_seen(trainer, &base, files)
    });
    let seen: BTreeSet<u64> = join_all(loops).await.into_iter().flatten().collect();
    seen.len()
}

/// Trains with one [`Trainer`], and returns the rounds in which its node held seals that lost.
async fn forks_seen(trainer: &Trainer, base: &str, files: Vec<Bytes>) -> BTreeSet<u64> {
    let mut forked = BTreeSet::new();
    let look = async |head: &qres_api::pb::Checkpoint| {
        // This looks at the round before the head, because its losing seals have had the time to arrive.
        let before = head.round.saturating_sub(1);
        if before > 0 && !trainer.round(before).await.losing_seals.is_empty() {
            forked.insert(before);
        }
        if head.round > ROUNDS {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    trainer.train_on(base, &files, look).await;
    forked
}
