//! Rounds across nodes.

use std::time::Duration;

use qres_api::pb::{self, SubmissionState};
use qres_tests::scrape::scrape;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Options, Swarm, wait};
use tonic_types::StatusExt;

use crate::{head, vector_model};

#[tokio::test(flavor = "multi_thread")]
async fn one_node_alone_goes_round_by_itself() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let model = node.create(vector_model("alone", &[0.0, 0.0])).await.unwrap();
    assert_eq!(model.members.len(), 1);
    let mut base = head(&model);
    for round in 1..=3u64 {
        let submitted = node
            .submit("alone", &base, 10, &vector(&[round as f32, 1.0]))
            .await
            .unwrap();
        let fetched = node.fetch("alone", &base).await.unwrap();
        assert_eq!(fetched.round(), round);
        assert_eq!(read_vector(&fetched.file), [round as f32, 1.0]);
        let state = node.submission(&submitted.id, false).await.unwrap();
        assert_eq!(state.state(), SubmissionState::Sealed, "{state:?}");
        assert_eq!(state.checkpoint, fetched.id());
        base = fetched.id();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_average_by_sample_count_and_hold_the_same_bits() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        ..vector_model("avg3", &[1.0, -1.0, 0.5])
    };
    let model = nodes[0].create(request).await.unwrap();
    assert_eq!((model.members.len(), model.quorum), (3, 2));
    let mut base = head(&model);
    for node in &nodes[1..] {
        node.join("avg3").await;
    }
    let rounds: [[[f32; 3]; 3]; 2] = [
        [[2.0, 0.0, 0.5], [4.0, 1.0, 0.5], [8.0, 2.0, 0.5]],
        [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]],
    ];
    for (round, weights) in rounds.iter().enumerate() {
        for (i, node) in nodes.iter().enumerate() {
            let fetched = node.fetch("avg3", "").await.unwrap();
            let fetched = if fetched.id() == base {
                fetched
            } else {
                node.wait_for_round("avg3", round as u64).await
            };
            assert_eq!(fetched.id(), base);
            node.submit("avg3", &base, (i as u64 + 1) * 10, &vector(&weights[i]))
                .await
                .unwrap();
        }
        let results = futures::future::join_all(nodes.iter().map(|n| n.wait_for_round("avg3", round as u64 + 1))).await;
        // McMahan et al. 2017: the sample-weighted mean, here of 10, 20 and 30 samples.
        let mean = |k: usize| (weights[0][k] + 2.0 * weights[1][k] + 3.0 * weights[2][k]) / 6.0;
        for (value, expected) in read_vector(&results[0].file)
            .into_iter()
            .zip([mean(0), mean(1), mean(2)])
        {
            assert!(
                (value - expected).abs() <= 1e-6 * expected.abs(),
                "{value} is not {expected}"
            );
        }
        for other in &results[1..] {
            assert_eq!(other.file, results[0].file);
            assert_eq!(other.id(), results[0].id());
        }
        base = results[0].id();
    }
}

/// Returns the node ids of these nodes, in hex.
pub async fn node_ids(nodes: &[qres_tests::Node]) -> Vec<String> {
    let mut ids = vec![];
    for node in nodes {
        let answer = node.node().get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
        ids.push(answer.node.unwrap().node_id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_member_costs_a_deadline_once_and_never_the_run() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        deadline_ms: Some(4_000),
        ..vector_model("quorum", &[0.0])
    };
    let mut base = head(&nodes[0].create(request).await.unwrap());
    for node in &nodes[1..] {
        node.join("quorum").await;
    }
    for round in 1..=4u64 {
        for node in &nodes[..2] {
            node.wait_for_round("quorum", round - 1).await;
            node.submit("quorum", &base, 1, &vector(&[round as f32])).await.unwrap();
        }
        let sealed = nodes[0].wait_for_round("quorum", round).await;
        assert_eq!(read_vector(&sealed.file), [round as f32]);
        base = sealed.id();
    }
    nodes[1].wait_for_round("quorum", 4).await;
    let round = nodes[1].round("quorum", Some(4)).await.unwrap();
    assert_eq!(round.contributions.len(), 2);
    // The silent member holds the same head.
    let third = nodes[2].wait_for_round("quorum", 4).await;
    assert_eq!(third.id(), base);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_trainers_of_one_node_become_one_contribution() {
    let daemon = Daemon::start(Options {
        arguments: vec!["--trainers".into(), "2".into()],
        ..Options::default()
    });
    let node = daemon.node();
    let base = head(&node.create(vector_model("pair", &[0.0])).await.unwrap());
    let submit = |trainer: &str, samples, value: f32| {
        let header = pb::SubmitWeightsRequest {
            model: "pair".into(),
            base: base.clone(),
            trainer: trainer.into(),
            samples,
            ..Default::default()
        };
        let node = node.clone();
        async move { node.submit_with(header, &vector(&[value])).await }
    };
    let first = submit("a", 30, 1.0).await.unwrap();
    assert_eq!(first.state(), SubmissionState::Pending);
    let again = submit("a", 30, 5.0).await.unwrap_err();
    assert_eq!(again.code(), tonic::Code::AlreadyExists, "{again:?}");
    let second = submit("b", 10, 5.0).await.unwrap();
    let result = node.fetch("pair", &base).await.unwrap();
    assert_eq!(read_vector(&result.file), [2.0]);
    for id in [first.id, second.id] {
        let state = node.submission(&id, false).await.unwrap();
        assert_eq!(state.checkpoint, result.id(), "{state:?}");
        assert_eq!(state.weight_ppm, 1_000_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_ends_the_waiting_but_never_below_k() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        min_contributions: Some(1),
        ..vector_model("now", &[0.0])
    };
    let model = nodes[0].create(request).await.unwrap();
    assert!(
        model.warnings.iter().any(|w| w.contains("partition")),
        "{:?}",
        model.warnings
    );
    let base = head(&model);
    nodes[1].join("now").await;
    let seal = || async {
        nodes[0]
            .rounds()
            .seal_round(pb::SealRoundRequest { model: "now".into() })
            .await
    };
    let refused = seal().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("0 of the 1"), "{refused:?}");
    nodes[0].submit("now", &base, 1, &vector(&[7.0])).await.unwrap();
    wait::until(
        "the contribution to be in, and the round to be sealed on demand",
        || async { seal().await.ok() },
    )
    .await;
    let sealed = nodes[1].wait_for_round("now", 1).await;
    assert_eq!(read_vector(&sealed.file), [7.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_waits_ends_when_the_node_stops() {
    let daemon = Daemon::start(Options {
        arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let node = daemon.node();
    let base = head(&node.create(vector_model("stop", &[0.0])).await.unwrap());
    let waiting = tokio::spawn({
        let (node, base) = (node.clone(), base.clone());
        async move { node.fetch("stop", &base).await }
    });
    let page = daemon.metrics.clone().expect("metrics are served");
    wait::until("the fetch to be under way", || async {
        scrape(&page).contains("rpc_server_active_calls 1\n").then_some(())
    })
    .await;
    let ended = tokio::task::spawn_blocking(move || daemon.terminate().1);
    let code = tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .expect("it stops in time")
        .unwrap();
    assert_eq!(code, Some(0));
    // The details show that the node itself sent this status: a broken connection would have none.
    let status = waiting.await.unwrap().unwrap_err();
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert!(matches!(reason, Some("SHUTTING_DOWN" | "STOPPING")), "{status:?}");
}
