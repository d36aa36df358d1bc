//! Whole rounds of real daemons, as ratios to what one loopback TCP stream needs for the same bytes in the same run.
//!
//! `cargo bench -p qres-tests --bench round`. Trainers return at once, so all that is measured is the control plane: submit,
//! store with fsync, code, exchange, seal, aggregate, recompute, fetch.

mod loopback;
mod process;

use std::time::{Duration, Instant};

use qres_api::pb;
use qres_fed::tensor::to_safetensors;
use qres_tests::{Daemon, Node, Options, Swarm};

/// Nodes, and so trainers.
const NODES: usize = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        start_and_idle().await;
        let swarm = Swarm::start(NODES).await;
        rounds(&swarm, "small", 10_000, 20).await;
        rounds(&swarm, "large", 10_000_000, 5).await;
    });
}

/// Start to serving, and memory at rest.
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

async fn rounds(swarm: &Swarm, name: &str, parameters: usize, rounds: u64) {
    let nodes = swarm.nodes();
    let file = model(parameters, 0.0);
    let base = create(&nodes, name, &file).await;
    let submissions: Vec<_> = (0..NODES).map(|i| model(parameters, 0.001 * (i + 1) as f32)).collect();
    let moved = bytes_moved(file.len());
    let mut after = one_round(&nodes, name, &base, &submissions).await;
    for daemon in &swarm.daemons {
        process::reset_peak(daemon.pid());
    }
    let counted = loopback::interface_bytes();
    let mut walls = vec![];
    for _ in 0..rounds {
        let start = Instant::now();
        after = one_round(&nodes, name, &after, &submissions).await;
        walls.push(start.elapsed());
    }
    let counted = (loopback::interface_bytes() - counted) / rounds;
    let peak = swarm
        .daemons
        .iter()
        .map(|d| process::peak_mib(d.pid()))
        .fold(0.0, f64::max);
    let stream = (0..3).map(|_| loopback::one_stream(moved)).min().expect("three runs");
    walls.sort();
    let median = walls[walls.len() / 2];
    println!("\n{parameters} parameters, {NODES} nodes, bf16 between nodes, f32 on gRPC, fsync as shipped:");
    println!(
        "round, median of {rounds:<2}      {:>8.0} ms   (best {:.0}, worst {:.0})",
        ms(median),
        ms(walls[0]),
        ms(walls[walls.len() - 1])
    );
    println!(
        "one TCP stream          {:>8.0} ms   for the same {:.1} MB",
        ms(stream),
        moved as f64 / 1e6
    );
    println!(
        "ratio                   {:>8.2}      (goal at 10 million: <= 3)",
        median.as_secs_f64() / stream.as_secs_f64()
    );
    println!(
        "bytes on loopback       {:>8.1} MB   a round, by the interface's own counter",
        counted as f64 / 1e6
    );
    println!(
        "peak memory of a daemon {:>8.1} MiB  ({:.2} x the model)",
        peak,
        peak * 1048576.0 / file.len() as f64
    );
}

/// Each submit and each fetch once in f32, each contribution once to each other node in bf16.
fn bytes_moved(file: usize) -> u64 {
    (2 * NODES * file + NODES * (NODES - 1) * file / 2) as u64
}

fn model(parameters: usize, value: f32) -> Vec<u8> {
    // Ten layers, as a model has: not one giant tensor.
    let layer = parameters / 10;
    let tensors: Vec<_> = (0..10)
        .map(|i| {
            let values = (0..layer).map(|k| value * ((k * 31 + i) % 97) as f32).collect();
            (format!("layer{i}.weight"), vec![layer as u64], values)
        })
        .collect();
    to_safetensors(&tensors)
}

async fn create(nodes: &[Node], name: &str, file: &[u8]) -> String {
    let mut chunks = file.chunks(1 << 20).map(bytes::Bytes::copy_from_slice);
    let first = pb::CreateModelRequest {
        name: name.into(),
        codec: Some(pb::Rule {
            id: "bf16/1".into(),
            ..Default::default()
        }),
        data: chunks.next().unwrap_or_default(),
        ..Default::default()
    };
    let rest = chunks.map(|data| pb::CreateModelRequest {
        data,
        ..Default::default()
    });
    let messages: Vec<_> = std::iter::once(first).chain(rest).collect();
    let model = nodes[0]
        .models()
        .create_model(tokio_stream::iter(messages))
        .await
        .expect("created")
        .into_inner();
    for node in &nodes[1..] {
        node.join(name).await;
        node.wait_for_round(name, 0).await;
    }
    model.model.and_then(|m| m.head).expect("a head").id
}

/// Submit everywhere at once, then fetch everywhere, waiting for the new head; answers its id.
async fn one_round(nodes: &[Node], name: &str, base: &str, submissions: &[Vec<u8>]) -> String {
    let trainers = nodes.iter().zip(submissions).map(|(node, file)| async move {
        node.submit(name, base, 100, file).await.expect("submitted");
        drain(node, name, base).await
    });
    let heads = futures::future::join_all(trainers).await;
    assert!(heads.windows(2).all(|w| w[0] == w[1]), "heads differ: {heads:?}");
    heads[0].clone()
}

/// Reads a fetch to its end without keeping it, as a trainer that writes into its own arrays would.
async fn drain(node: &Node, name: &str, after: &str) -> String {
    let request = pb::FetchWeightsRequest {
        model: name.into(),
        after: after.into(),
        ..Default::default()
    };
    let mut stream = node
        .weights()
        .fetch_weights(request)
        .await
        .expect("fetched")
        .into_inner();
    let header = stream.message().await.expect("a message").expect("a first message");
    let mut bytes = 0;
    while let Some(message) = stream.message().await.expect("a message") {
        bytes += message.data.len() as u64;
    }
    assert_eq!(bytes, header.total_bytes);
    header.checkpoint.expect("a checkpoint").id
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
