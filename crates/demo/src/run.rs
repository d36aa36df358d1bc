//! Runs the demo from the first weights to the closing table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, anyhow};
use qres_api::client::Client;
use qres_api::pb;
use qres_fed::id::BlobId;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::args::Args;
use crate::digits::Digits;
use crate::plot::{self, Curve};
use crate::progress::Progress;
use crate::split::Part;
use crate::swarm::Swarm;
use crate::table::{Head, Outcome};
use crate::{baseline, digits, federation, split, trainer};

/// Most time until all nodes know each other, or hold the new model. Both take about a second.
const GATHER_TIMEOUT: Duration = Duration::from_secs(60);
/// Most time until all nodes have the same head after the last round. Gossip takes milliseconds for that.
const AGREE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time between two reads of the heads.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The nodes' names for people, by node id.
type Names = BTreeMap<String, String>;

/// Runs the demo. Returns false if the nodes did not end with the same bits.
pub async fn run(args: &Args, swarm: &Swarm) -> anyhow::Result<bool> {
    let data = digits::load(args.seed)?;
    let parts = split::deal(&data.train, swarm.nodes.len(), args.seed);
    introduce(args, swarm, &data, &parts);
    let nodes = connect(swarm).await?;
    found(args, swarm, &nodes).await?;

    let started = Instant::now();
    let progress = train(args, swarm.names(), &nodes, &data, &parts).await?;
    let heads = agree(&nodes, args.learner.model()).await?;
    let took = started.elapsed();

    let curves = compare(args, &progress, &data, &parts)?;
    let last = |curve: &Curve| curve.points.last().map_or(0.0, |(_, accuracy)| *accuracy);
    let outcome = Outcome {
        heads,
        accuracies: curves.iter().map(|c| (c.name.clone(), last(c))).collect(),
        took,
        rounds: args.rounds,
        trainer_bytes: progress.trainer_bytes,
        node_bytes: progress.node_bytes,
    };
    println!("\n{}", outcome.render());
    let title = format!("{}: {}", args.learner.model(), trainers(parts.len()));
    plot::write(&args.out, &title, &curves)?;
    println!("  curves: {}", args.out.display());
    Ok(outcome.agree())
}

fn introduce(args: &Args, swarm: &Swarm, data: &Digits, parts: &[Part]) {
    println!(
        "{}: {} with a node each, and a bootstrap node, on loopback; {} rounds; {} digits to learn, {} held out",
        args.learner.model(),
        trainers(parts.len()),
        args.rounds,
        data.train.len(),
        data.held_out.len(),
    );
    for (node, part) in swarm.nodes.iter().zip(parts) {
        let digits = show(&part.digits);
        println!(
            "  {} (gRPC {}, peer {}): its trainer has {} rows of the digits {digits}",
            node.name,
            node.banner.grpc,
            node.banner.peer_id,
            part.rows.len(),
        );
    }
    println!();
}

fn trainers(count: usize) -> String {
    format!("{count} trainer{}", if count == 1 { "" } else { "s" })
}

fn show(digits: &BTreeSet<u32>) -> String {
    digits.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

/// Connects to all nodes.
pub async fn connect(swarm: &Swarm) -> anyhow::Result<Vec<Client>> {
    let mut nodes = Vec::new();
    for daemon in &swarm.nodes {
        nodes.push(Client::connect(&daemon.banner.grpc).await?);
    }
    Ok(nodes)
}

/// Creates the model on the first node and lets the other nodes join it. Returns an error if a step takes longer than
/// [`GATHER_TIMEOUT`].
async fn found(args: &Args, swarm: &Swarm, nodes: &[Client]) -> anyhow::Result<()> {
    let ids: Vec<String> = swarm.nodes.iter().map(|d| d.banner.node_id.clone()).collect();
    let [creator, joining @ ..] = nodes else { return Ok(()) };
    let others = ids[1..].iter().cloned().collect();
    let met = timeout(GATHER_TIMEOUT, federation::meet(creator, &others)).await;
    met.context("the nodes did not find each other")??;
    let creator_id = ids[0].clone();
    federation::create(creator, args.learner, ids, args.seed).await?;
    for (node, daemon) in joining.iter().zip(&swarm.nodes[1..]) {
        let joined = timeout(
            GATHER_TIMEOUT,
            federation::join(node, args.learner.model(), &creator_id),
        )
        .await;
        joined.with_context(|| format!("{} did not get the model", daemon.name))??;
    }
    Ok(())
}

/// Runs the trainers and shows the rounds, until the last round is sealed. Returns the [`Progress`] of all rounds.
async fn train(args: &Args, names: Names, nodes: &[Client], data: &Digits, parts: &[Part]) -> anyhow::Result<Progress> {
    let model = args.learner.model();
    let mut trainers = JoinSet::new();
    for (number, (node, part)) in (1..).zip(nodes.iter().zip(parts)) {
        let (learner, rows) = (args.learner.learner(args.seed), part.rows.clone());
        let training = trainer::run(node.clone(), model, learner, rows, args.rounds);
        trainers.spawn(async move { training.await.with_context(|| format!("trainer {number} failed")) });
    }
    let first = args.learner.learner(args.seed);
    let mut progress = Progress::new(args.rounds, names, first, data.held_out.clone())?;
    let all_trained = async {
        while let Some(trainer) = trainers.join_next().await {
            trainer??;
        }
        anyhow::Ok(())
    };
    // If one of the two fails, the other is ended.
    tokio::try_join!(progress.follow(&nodes[0], model), all_trained)?;
    Ok(progress)
}

/// Returns the [`Head`] of every node once they are all the same, or as they are after [`AGREE_TIMEOUT`].
async fn agree(nodes: &[Client], model: &str) -> anyhow::Result<Vec<Head>> {
    let until = Instant::now() + AGREE_TIMEOUT;
    loop {
        let mut heads = Vec::new();
        for node in nodes {
            heads.push(head(node, model).await?);
        }
        let same = heads.windows(2).all(|pair| pair[0] == pair[1]);
        if same || Instant::now() > until {
            return Ok(heads);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn head(node: &Client, model: &str) -> anyhow::Result<Head> {
    let request = pb::FetchWeightsRequest {
        model: model.to_owned(),
        ..Default::default()
    };
    let (head, file) = node.fetch_all(request).await?;
    let weights = BlobId::of(&file);
    if weights.to_string() != head.checkpoint.weights_digest {
        return Err(anyhow!("{}: the weights are not those of their digest", node.address()));
    }
    Ok(Head {
        round: head.checkpoint.round,
        checkpoint: head.checkpoint.id,
        weights,
    })
}

/// Returns the [`Curve`] of the federation, and those of the same learner without a federation.
fn compare(args: &Args, progress: &Progress, data: &Digits, parts: &[Part]) -> anyhow::Result<Vec<Curve>> {
    let rounds = progress.accuracy.iter().map(|(round, accuracy)| (*round, *accuracy));
    let mut curves = vec![Curve {
        name: format!("federated, {}", trainers(parts.len())),
        points: rounds.collect(),
    }];
    let mut add = |name: String, rows| -> anyhow::Result<()> {
        let points = baseline::train(args.learner, rows, &data.held_out, args.rounds, args.seed)?;
        let points = (0..).zip(points).collect();
        curves.push(Curve { name, points });
        Ok(())
    };
    add("all rows in one place".to_owned(), &data.train)?;
    for (number, part) in parts.iter().enumerate() {
        let name = format!("trainer {} alone ({})", number + 1, show(&part.digits));
        add(name, &part.rows)?;
    }
    Ok(curves)
}
