//! A node that was away.

use qres_api::pb;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Options, Swarm};

use crate::healing::same_head;
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
    // Whether it was waited for or not: all come to stand on one head.
    same_head(&[nodes[0].clone(), nodes[1].clone(), node], "away", 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latecomer_to_an_open_model_catches_up_on_the_word_of_a_node_that_it_trusts_and_on_nobody_elses() {
    let options = |arguments: &[&str], of: Option<&Daemon>| Options {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        bootstrap: of.map(|daemon| daemon.mesh.clone()).into_iter().collect(),
        ..Options::default()
    };
    // What lies below its horizon, a round or two back, cannot be recomputed from it any more.
    let creator = Daemon::start(options(&["--retention", "1"], None));
    let node = creator.node();
    let request = pb::CreateModelRequest {
        open: true,
        min_contributions: Some(1),
        target: Some(1),
        max_staleness: Some(0),
        ..vector_model("open", &[0.0])
    };
    let mut base = head(&node.create(request).await.unwrap());
    for round in 1..=9u64 {
        node.submit("open", &base, 1, &vector(&[round as f32])).await.unwrap();
        base = node.wait_for_round("open", round).await.id();
    }
    let stranger = Daemon::start(options(&[], Some(&creator)));
    stranger.node().join("open").await;
    let friend = Daemon::start(options(&["--trust", &creator.peer_id], Some(&creator)));
    friend.node().join("open").await;
    let caught_up = friend.node().wait_for_round("open", 9).await;
    assert_eq!(
        (caught_up.id(), read_vector(&caught_up.file)),
        (base.clone(), vec![9.0])
    );
    node.submit("open", &base, 1, &vector(&[10.0])).await.unwrap();
    friend.node().wait_for_round("open", 10).await;
    // It has been connected for longer, and has the same records.
    assert_eq!(stranger.node().model("open").await.unwrap().head.unwrap().round, 0);
}
