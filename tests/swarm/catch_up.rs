//! Nodes that were away or come late, and catch up.

use qres_api::pb;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Node, Options, Swarm};

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
    // All nodes come to the same head, whether or not the others waited for the node that was away.
    same_head(&[nodes[0].clone(), nodes[1].clone(), node], "away", 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_latecomer_to_an_open_model_catches_up_on_the_word_of_a_node_that_it_trusts_and_on_nobody_elses() {
    let options = |arguments: &[&str], of: Option<&Daemon>| Options {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        bootstrap: of.map(|daemon| daemon.mesh.clone()).into_iter().collect(),
        ..Options::default()
    };
    // Rounds below the horizon of the creator, one or two rounds back, can no longer be recomputed with its data.
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
    // The stranger has been connected for longer and has the same records, but it trusts no other node.
    assert_eq!(stranger.node().model("open").await.unwrap().head.unwrap().round, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_left_the_memory_are_told_after_a_restart_too_and_a_newcomer_gets_them() {
    let with = |bootstrap: Vec<String>| Options {
        arguments: ["--retention", "1"].map(String::from).to_vec(),
        bootstrap,
        ..Options::default()
    };
    let one = Daemon::start(with(vec![]));
    let bootstrap = vec![one.mesh.clone()];
    let two = Daemon::start(with(bootstrap.clone()));
    let late = Daemon::start(with(bootstrap));
    let nodes = [one.node(), two.node(), late.node()];
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        deadline_ms: Some(200),
        max_staleness: Some(0),
        ..vector_model("old", &[0.0])
    };
    let mut base = head(&nodes[0].create(request).await.unwrap());
    nodes[1].join("old").await;
    // Round 13 is settled. Two more rounds are kept, and the seals of one more: rounds below 10 are in the archive.
    for round in 1..=15u64 {
        for node in &nodes[..2] {
            node.wait_for_round("old", round - 1).await;
            node.submit("old", &base, 1, &vector(&[round as f32])).await.unwrap();
        }
        base = nodes[0].wait_for_round("old", round).await.id();
    }
    let told = all_rounds(&nodes[0]).await;
    let numbers: Vec<_> = told.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=15).rev().collect::<Vec<_>>());
    let one = one.kill().start();
    assert_eq!(all_rounds(&one.node()).await, told, "after a restart");
    nodes[2].join("old").await;
    assert_eq!(nodes[2].wait_for_round("old", 15).await.id(), base);
    assert_eq!(all_rounds(&nodes[2]).await, told, "at a newcomer");
    // The newcomer submits first: the others would not wait for a member that they have not seen yet.
    for node in [&nodes[2], &one.node(), &nodes[1]] {
        node.wait_for_round("old", 15).await;
        node.submit("old", &base, 1, &vector(&[16.0])).await.unwrap();
    }
    same_head(&[one.node(), nodes[1].clone(), nodes[2].clone()], "old", 16).await;
}

/// Lists the sealed rounds of a [`Node`] page by page, as number and checkpoint id. GetRound must show the same checkpoints.
async fn all_rounds(node: &Node) -> Vec<(u64, String)> {
    let (mut all, mut token) = (vec![], String::new());
    loop {
        let request = pb::ListRoundsRequest {
            model: "old".into(),
            page_size: 4,
            page_token: token,
        };
        let page = node.rounds().list_rounds(request).await.expect("a page").into_inner();
        for round in page.rounds {
            let Some(checkpoint) = round.checkpoint else { continue };
            let one = node.round("old", Some(round.round)).await.expect("a round");
            let one = one.checkpoint.expect("sealed");
            assert_eq!(one.id, checkpoint.id);
            all.push((round.round, checkpoint.id));
        }
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}
