//! The trellis codec in the rounds of real nodes.

use qres_api::pb;
use qres_tests::Swarm;
use qres_tests::weights::{read_vector, vector};

use crate::rounds::node_ids;
use crate::{head, vector_model};

/// Three blocks of the codec, the last of them short.
const WEIGHTS: usize = 2 * (1 << 14) + 4_321;

/// Returns numbers that look like normal ones: sums of twelve evenly spread numbers, from a generator with this seed.
fn normal(mut seed: u64) -> Vec<f32> {
    let mut even = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..WEIGHTS)
        .map(|_| (0..12).map(|_| even()).sum::<f32>() - 6.0)
        .collect()
}

fn rule(id: &str) -> pb::Rule {
    pb::Rule {
        id: id.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_and_a_half_bits_a_weight_make_the_same_bits_on_every_node() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    // With the mean, with a rule that goes by coordinates, with one that compares whole updates, and with an optimiser.
    for (name, rules, strategy) in [
        ("mean", vec![], "fedavg/1"),
        ("median", vec![rule("median/1")], "fedavg/1"),
        ("geometric", vec![rule("geometric-median/1")], "fedavg/1"),
        ("outer", vec![], "diloco/1"),
    ] {
        let request = pb::CreateModelRequest {
            members: node_ids(&nodes).await,
            codec: Some(rule("tcq/1")),
            aggregation: rules,
            strategy: Some(rule(strategy)),
            min_contributions: Some(3),
            ..vector_model(name, &vec![0.0; WEIGHTS])
        };
        let mut base = head(&nodes[0].create(request).await.unwrap());
        for node in &nodes[1..] {
            node.join(name).await;
        }
        for round in 1..=2u64 {
            let signal = normal(1);
            for (i, node) in nodes.iter().enumerate() {
                let noise = normal(10 * round + i as u64);
                let trained: Vec<f32> = signal.iter().zip(&noise).map(|(x, y)| x + 0.1 * y).collect();
                node.wait_for_round(name, round - 1).await;
                node.submit(name, &base, 10, &vector(&trained)).await.unwrap();
            }
            let sealed = nodes[0].wait_for_round(name, round).await;
            for node in &nodes[1..] {
                assert!(
                    node.wait_for_round(name, round).await == sealed,
                    "{name}: the same bits"
                );
            }
            let shown = nodes[2].round(name, Some(round)).await.unwrap();
            for contribution in &shown.contributions {
                assert!(contribution.fidelity >= 0.99, "{name}: {contribution:?}");
                let bits = 8.0 * contribution.total_bytes as f64 / WEIGHTS as f64;
                assert!(bits < 3.7, "{name}: {bits} bits a weight");
            }
            if round == 1 && strategy == "fedavg/1" {
                let result = read_vector(&sealed.file);
                let error: f32 = result.iter().zip(&signal).map(|(x, y)| (x - y) * (x - y)).sum();
                let size: f32 = signal.iter().map(|x| x * x).sum();
                assert!(error < 0.05 * size, "{name}: {error} of {size}");
            }
            base = sealed.id();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_unchanged_weights_travel_too() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        codec: Some(rule("tcq/1")),
        ..vector_model("small", &[1.0, 2.0, 3.0])
    };
    let base = head(&nodes[0].create(request).await.unwrap());
    nodes[1].join("small").await;
    nodes[1].wait_for_round("small", 0).await;
    // One member changed nothing at all, the other one weight.
    for (node, trained) in nodes.iter().zip([[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]]) {
        node.submit("small", &base, 1, &vector(&trained)).await.unwrap();
    }
    let sealed = nodes[0].wait_for_round("small", 1).await;
    assert_eq!(nodes[1].wait_for_round("small", 1).await.file, sealed.file);
    let result = read_vector(&sealed.file);
    assert!(
        (result[0] - 1.0).abs() < 1e-6 && (result[2] - 4.0).abs() < 0.15,
        "{result:?}"
    );
}
