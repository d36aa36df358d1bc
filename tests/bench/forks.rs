//! How often heads fork when nothing slows the trainers down: rounds in which some node held more than one seal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use qres_api::client::ClientError;
use qres_api::pb;
use qres_tests::Swarm;

use crate::{Trainer, connect, create, model, trained};

/// Parameters: small, so that rounds follow each other as fast as they can.
const PARAMETERS: usize = 10_000;
/// Rounds of each run.
const ROUNDS: u64 = 100;
/// Different weights that a trainer hands in, one after the other.
const FILES: u64 = 8;

/// Each trainer runs a loop of its own on a machine that has nothing else to do, and then beside one busy thread a processor.
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
    let trainers = connect(swarm, name).await;
    let base = create(swarm, name, &trainers, model(PARAMETERS, 1.0)).await;
    // Never what the round before had: a blob that the others hold already would not be sent.
    let files: Vec<_> = (0..FILES).map(|n| trained(PARAMETERS, n)).collect();
    let of = |i: usize| files.iter().map(|file| file[i].clone()).collect();
    let loops = trainers
        .iter()
        .enumerate()
        .map(|(i, trainer)| run(trainer, &base, of(i)));
    let seen: BTreeSet<u64> = join_all(loops).await.into_iter().flatten().collect();
    seen.len()
}

/// The loop of the README. Gives the rounds in which this node held seals that lost.
async fn run(trainer: &Trainer, base: &str, files: Vec<Bytes>) -> BTreeSet<u64> {
    let (mut base, mut forked) = (base.to_owned(), BTreeSet::new());
    for file in files.into_iter().cycle() {
        let header = pb::SubmitWeightsRequest {
            model: trainer.model.into(),
            base: base.clone(),
            samples: 100,
            ..Default::default()
        };
        match trainer.client.submit(header, file).await {
            Err(ClientError::Refused { reason, .. }) if reason.starts_with("BASE_") => {}
            answer => drop(answer.expect("submitted")),
        }
        let request = pb::FetchWeightsRequest {
            model: trainer.model.into(),
            after: base,
            ..Default::default()
        };
        let (fetch, _) = trainer.client.fetch_all(request).await.expect("fetched");
        // One round later, when what lost has had the time to come.
        let before = fetch.checkpoint.round.saturating_sub(1);
        if before > 0 && has_losing_seals(trainer, before).await {
            forked.insert(before);
        }
        if fetch.checkpoint.round > ROUNDS {
            break;
        }
        base = fetch.checkpoint.id;
    }
    forked
}

async fn has_losing_seals(trainer: &Trainer, round: u64) -> bool {
    let request = pb::GetRoundRequest {
        model: trainer.model.into(),
        round: Some(round),
    };
    let answer = trainer.client.rounds().get_round(request).await.expect("a round");
    !answer.into_inner().round.expect("a round").losing_seals.is_empty()
}
