//! A node that was away.

use qres_api::pb;
use qres_tests::Swarm;
use qres_tests::weights::{read_vector, vector};

use crate::rounds::node_ids;
use crate::{head, vector_model};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_ten_rounds_catches_up_and_takes_part_again() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        deadline_ms: Some(1_500),
        ..vector_model("away", &[0.0])
    };
    let mut base = head(&nodes[0].create(request).await.unwrap());
    for node in &nodes[1..] {
        node.join("away").await;
    }
    let stopped = swarm.daemons.pop().unwrap().kill();
    for round in 1..=10u64 {
        for node in &nodes[..2] {
            node.wait_for_round("away", round - 1).await;
            node.submit("away", &base, 1, &vector(&[round as f32])).await.unwrap();
        }
        base = nodes[0].wait_for_round("away", round).await.id();
    }
    let back = stopped.start();
    let node = back.node();
    let caught_up = node.wait_for_round("away", 10).await;
    assert_eq!(caught_up.id(), base);
    assert_eq!(read_vector(&caught_up.file), [10.0]);
    for node in [&nodes[0], &nodes[1], &node] {
        node.wait_for_round("away", 10).await;
        node.submit("away", &base, 1, &vector(&[11.0])).await.unwrap();
    }
    let next = node.wait_for_round("away", 11).await;
    assert_eq!(next.id(), nodes[0].wait_for_round("away", 11).await.id());
}
