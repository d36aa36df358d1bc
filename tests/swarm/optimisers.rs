//! Server optimisers in the rounds of real nodes: the steps of their formulas, and their state on every node.

use std::collections::BTreeMap;

use qres_api::pb;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Node, Options, Swarm};

use crate::healing::same_head;
use crate::rounds::node_ids;
use crate::{head, vector_model};

const ROUNDS: u64 = 3;

fn strategy(id: &str, numbers: &[(&str, f64)]) -> Option<pb::Rule> {
    let params: BTreeMap<_, _> = numbers
        .iter()
        .map(|(name, number)| ((*name).to_owned(), *number))
        .collect();
    Some(pb::Rule { id: id.into(), params })
}

/// Returns the weight after each round, if the members' mean is `mean` in every round.
fn expected(id: &str, mean: f64) -> Vec<f64> {
    let (mut w, mut m, mut v) = (0.0, 0.0, 1e-6f64);
    let step = |_| {
        let d: f64 = mean - w;
        w += match id {
            "fedavgm/1" | "diloco/1" => {
                m = 0.9 * m + d;
                0.5 * if id == "diloco/1" { d + 0.9 * m } else { m }
            }
            _ => {
                m = 0.9 * m + 0.1 * d;
                v = match id {
                    "fedadagrad/1" => v + d * d,
                    "fedadam/1" => 0.99 * v + 0.01 * d * d,
                    _ => v - 0.01 * d * d * (v - d * d).signum(),
                };
                0.5 * m / (v.sqrt() + 1e-3)
            }
        };
        w
    };
    (0..ROUNDS).map(step).collect()
}

/// Returns the checkpoint of a round, which is the same on all nodes with all its digests.
async fn agreed(nodes: &[Node], model: &str, round: u64) -> (pb::Checkpoint, Vec<u8>) {
    let mut all = vec![];
    for node in nodes {
        let fetched = node.wait_for_round(model, round).await;
        let checkpoint = fetched.header.checkpoint.expect("named");
        all.push((checkpoint.id, checkpoint.optimiser_digest, fetched.file));
    }
    let first = all[0].clone();
    assert!(all.iter().all(|other| *other == first), "{model}, round {round}");
    let checkpoint = nodes[0].model(model).await.unwrap().head.unwrap();
    (checkpoint, first.2)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_optimiser_makes_its_steps_on_three_nodes() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    for id in ["fedavgm/1", "diloco/1", "fedadagrad/1", "fedadam/1", "fedyogi/1"] {
        let name = id.trim_end_matches("/1");
        let request = pb::CreateModelRequest {
            members: node_ids(&nodes).await,
            strategy: strategy(id, &[("server_learning_rate", 0.5)]),
            min_contributions: Some(3),
            ..vector_model(name, &[0.0])
        };
        let model = nodes[0].create(request).await.unwrap();
        assert_eq!(
            model.head.as_ref().unwrap().optimiser_digest,
            "",
            "checkpoint 0 has no state"
        );
        for node in &nodes[1..] {
            node.join(name).await;
        }
        let mut base = head(&model);
        let mut states = vec![];
        for (round, expected) in (1..=ROUNDS).zip(expected(id, 2.0)) {
            for (node, x) in nodes.iter().zip([1.0, 2.0, 3.0]) {
                node.wait_for_round(name, round - 1).await;
                node.submit(name, &base, 10, &vector(&[x])).await.unwrap();
            }
            let (checkpoint, file) = agreed(&nodes, name, round).await;
            let found = f64::from(read_vector(&file)[0]);
            assert!(
                (found - expected).abs() < 1e-5,
                "{id}, round {round}: {found} is not {expected}"
            );
            (base, _) = (checkpoint.id, states.push(checkpoint.optimiser_digest));
        }
        states.dedup();
        assert!(
            states.len() == 3 && states.iter().all(|digest| digest.len() == 64),
            "{states:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_fetches_the_state_and_computes_the_next_rounds_with_it() {
    let with = |bootstrap: Vec<String>| Options {
        // Older rounds cannot be computed again: the weights and the state must come from the others.
        arguments: ["--retention", "1"].map(String::from).to_vec(),
        bootstrap,
        ..Options::default()
    };
    let one = Daemon::start(with(vec![]));
    let bootstrap = vec![one.mesh.clone()];
    let two = Daemon::start(with(bootstrap.clone()));
    let away = Daemon::start(with(bootstrap));
    let nodes = [one.node(), two.node(), away.node()];
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        strategy: strategy("diloco/1", &[]),
        deadline_ms: Some(200),
        max_staleness: Some(0),
        ..vector_model("outer", &[0.0])
    };
    let mut base = head(&nodes[0].create(request).await.unwrap());
    nodes[1].join("outer").await;
    for round in 1..=9u64 {
        for node in &nodes[..2] {
            node.wait_for_round("outer", round - 1).await;
            node.submit("outer", &base, 1, &vector(&[round as f32])).await.unwrap();
        }
        base = nodes[0].wait_for_round("outer", round).await.id();
    }
    nodes[2].join("outer").await;
    let (checkpoint, _) = agreed(&nodes, "outer", 9).await;
    assert_eq!((checkpoint.id, checkpoint.optimiser_digest.len()), (base.clone(), 64));
    // The state is on the disk: after a restart the member computes the next round from it, as the others do.
    let away = away.kill_and_restart();
    let nodes = [one.node(), two.node(), away.node()];
    for round in 10..=11u64 {
        for node in [&nodes[2], &nodes[0], &nodes[1]] {
            node.wait_for_round("outer", round - 1).await;
            node.submit("outer", &base, 1, &vector(&[20.0])).await.unwrap();
        }
        same_head(&nodes, "outer", round).await;
        let (checkpoint, _) = agreed(&nodes, "outer", round).await;
        base = checkpoint.id;
    }
}
