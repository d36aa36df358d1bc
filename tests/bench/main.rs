//! Measures whole rounds of real daemons, as ratios to the time that one loopback TCP stream needs for the same bytes in the
//! same run.
//!
//! Run it with `cargo bench -p qres-tests --bench round`. Trainers return at once, so only the control plane is measured:
//! submit, store with fsync, code, exchange, seal, aggregate, recompute, fetch.

mod forks;
mod loopback;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use qres_api::pb;
use qres_tests::trainer::{self, Trainer};
use qres_tests::{Daemon, Options, Swarm, process};
use tokio::time::Instant;

/// Number of nodes. Each has one trainer.
const NODES: usize = 4;
/// Number of rounds before the measurement. By then files of earlier rounds exist that can be overwritten, as in any longer run.
const WARM_UP: u64 = 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        start_and_idle().await;
        let swarm = Swarm::start(NODES).await;
        rounds(&swarm, "small", 10_000, 20).await;
        rounds(&swarm, "large", 10_000_000, 15).await;
        forks::count(&swarm).await;
    });
}

/// Measures the time that a [`Daemon`] needs from its start until it serves, and its memory at rest.
async fn start_and_idle() {
    // The first start builds the programs and fills the page cache.
    drop(Daemon::start(Options::default()));
    let start = Instant::now();
    let daemon = Daemon::start(Options::default());
    let serving = start.elapsed();
    let answer = daemon.node().node().get_node(pb::GetNodeRequest {}).await;
    assert!(answer.is_ok());
    println!("start to serving        {:>8.0} ms   (goal < 300)", ms(serving));
    println!(
        "idle resident memory    {:>8.1} MiB  (goal < 40)",
        process::resident_mib(daemon.pid())
    );
}

/// Measures rounds of a model with this many parameters, and prints the figures.
async fn rounds(swarm: &Swarm, name: &'static str, parameters: usize, rounds: u64) {
    let trainers = Trainer::one_each(swarm, name).await;
    let file = trainer::weights(parameters, 1.0);
    let trained = |round| {
        (0..NODES)
            .map(|i| trainer::trained(parameters, i, round))
            .collect::<Vec<_>>()
    };
    let base = trainer::create(swarm, &trainers, file.clone()).await;
    let mut last = one_round(&trainers, base, trained(0)).await;
    for n in 1..WARM_UP {
        last = one_round(&trainers, last.head, trained(n)).await;
    }
    for daemon in &swarm.daemons {
        process::reset_peak(daemon.pid());
    }
    let moved = bytes_moved(file.len());
    let (mut taken, mut streams, mut cached) = (vec![], vec![], vec![]);
    let (mut counted, mut busy) = (0, Duration::ZERO);
    for n in WARM_UP..WARM_UP + rounds {
        let weights = trained(n);
        // The streams run between the rounds, so that other work of the machine slows down both. They do not run directly
        // after a round, because the daemons then still flush and collect garbage.
        streams.push(loopback::one_stream(&file, moved, true));
        cached.push(loopback::one_stream(&file, moved, false));
        let (bytes, time) = (loopback::interface_bytes(), processor_time(swarm));
        last = one_round(&trainers, last.head, weights).await;
        counted += loopback::interface_bytes() - bytes;
        busy += processor_time(swarm) - time;
        assert_eq!(
            trainers[0].round(last.number).await.contributions.len(),
            NODES,
            "a round that leaves one out is no whole round"
        );
        taken.push((last.whole, last.submitted, last.headed));
    }
    let peaks = swarm.daemons.iter().map(|daemon| process::peak_mib(daemon.pid()));
    let peak = peaks.fold(0.0, f64::max);
    println!("\n{parameters} parameters, {NODES} nodes, bf16 between nodes, f32 on gRPC, fsync as shipped:");
    report_time(taken, moved, median(streams), median(cached));
    println!(
        "bytes on loopback       {:>8.1} MB   a round, by the interface's own counter",
        counted as f64 / 1e6 / rounds as f64
    );
    println!(
        "processors              {:>8.0} ms   a round, of all daemons together",
        ms(busy) / rounds as f64
    );
    println!(
        "peak memory of a daemon {:>8.1} MiB  ({:.2} x the model)",
        peak,
        peak * 1048576.0 / file.len() as f64
    );
}

fn processor_time(swarm: &Swarm) -> Duration {
    swarm
        .daemons
        .iter()
        .map(|daemon| process::processor_time(daemon.pid()))
        .sum()
}

fn median<T: Ord + Copy>(mut all: Vec<T>) -> T {
    all.sort();
    all[all.len() / 2]
}

/// Prints the durations of rounds (whole, until submitted, until the new head), beside the time that one stream needs for the
/// same bytes.
fn report_time(taken: Vec<(Duration, Duration, Duration)>, moved: usize, stream: Duration, cached: Duration) {
    let (best, worst) = (
        taken.iter().min().expect("rounds").0,
        taken.iter().max().expect("rounds").0,
    );
    let rounds = taken.len();
    let (whole, submitted, headed) = median(taken);
    println!(
        "round, median of {rounds:<2}      {:>8.0} ms   (best {:.0}, worst {:.0})",
        ms(whole),
        ms(best),
        ms(worst)
    );
    println!(
        "  one after the other            submitted {:.0} ms, new head {:.0} ms, fetched {:.0} ms",
        ms(submitted),
        ms(headed - submitted),
        ms(whole - headed)
    );
    println!(
        "one TCP stream          {:>8.0} ms   for the same {:.1} MB, from memory into memory; median, one before each round",
        ms(stream),
        moved as f64 / 1e6
    );
    println!(
        "ratio                   {:>8.2}      (goal at 10 million: <= 3)",
        whole.as_secs_f64() / stream.as_secs_f64()
    );
    println!(
        "to a stream in cache    {:>8.2}      ({:.0} ms: the same 256 KiB again and again)",
        whole.as_secs_f64() / cached.as_secs_f64(),
        ms(cached)
    );
}

/// Number of bytes that a round moves: each submit and each fetch once in f32, each contribution once to each other node in bf16.
fn bytes_moved(file: usize) -> usize {
    2 * NODES * file + NODES * (NODES - 1) * file / 2
}

/// Result of a round, and the times from its beginning until the last trainer had finished each step.
struct Round {
    head: String,
    number: u64,
    submitted: Duration,
    headed: Duration,
    whole: Duration,
}

/// Makes one [`Round`]: submits on all nodes at once, then waits for the new head on all nodes and fetches it.
async fn one_round(trainers: &[Trainer], base: String, weights: Vec<Bytes>) -> Round {
    let start = Instant::now();
    let running: Vec<_> = trainers
        .iter()
        .zip(weights)
        .map(|(trainer, weights)| tokio::spawn(submit_and_fetch(trainer.clone(), base.clone(), weights, start)))
        .collect();
    let mut rounds = vec![];
    for trainer in running {
        rounds.push(trainer.await.expect("a round"));
    }
    let whole = start.elapsed();
    assert!(
        rounds.windows(2).all(|two| two[0].head == two[1].head),
        "the heads differ"
    );
    let last = |of: fn(&Round) -> Duration| rounds.iter().map(of).max().expect("trainers");
    Round {
        submitted: last(|round| round.submitted),
        headed: last(|round| round.headed),
        whole,
        number: rounds[0].number,
        head: rounds.swap_remove(0).head,
    }
}

async fn submit_and_fetch(trainer: Trainer, base: String, weights: Bytes, start: Instant) -> Round {
    trainer.submit(&base, weights).await.expect("submitted");
    let submitted = start.elapsed();
    let mut fetch = trainer.client.fetch(trainer.after(base)).await.expect("fetched");
    let headed = start.elapsed();
    // The weights are read to the end and not kept, as by a trainer that writes into its own arrays.
    while let Some(data) = fetch.data.next().await {
        data.expect("data");
    }
    Round {
        number: fetch.checkpoint.round,
        head: fetch.checkpoint.id,
        submitted,
        headed,
        whole: start.elapsed(),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
