//! Nodes are killed with `kill -9` at any moment. Each acknowledged submission is in the chain or gets an answer, and the heads
//! agree again.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

use qres_api::pb::{self, SubmissionState};
use qres_tests::weights::vector;
use qres_tests::{Node, Swarm, wait};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Number of crashes, one after the other.
const CRASHES: usize = 20;

async fn node_ids(nodes: &[Node]) -> Vec<String> {
    let mut ids = vec![];
    for node in nodes {
        ids.push(
            node.node()
                .get_node(pb::GetNodeRequest {})
                .await
                .unwrap()
                .into_inner()
                .node
                .unwrap()
                .node_id,
        );
    }
    ids
}

/// Submits round after round on a [`Node`], and stores the ids of acknowledged submissions. A dead node is simply tried again.
async fn train(node: Node, acknowledged: std::sync::Arc<std::sync::Mutex<Vec<String>>>, value: f32) {
    let mut after = String::new();
    loop {
        let Ok(Ok(fetched)) =
            tokio::time::timeout(std::time::Duration::from_secs(2), node.fetch("crash", &after)).await
        else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let submitted = node
            .submit("crash", &fetched.id(), 1, &vector(&[value + fetched.round() as f32]))
            .await;
        if let Ok(submission) = submitted {
            acknowledged.lock().unwrap().push(submission.id);
            after = fetched.id();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_crashes_lose_nothing_that_was_acknowledged_and_heads_agree_again() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        name: "crash".into(),
        codec: Some(pb::Rule {
            id: "none/1".into(),
            ..Default::default()
        }),
        members: node_ids(&nodes).await,
        deadline_ms: Some(1_000),
        data: vector(&[0.0]).into(),
        ..Default::default()
    };
    nodes[0].create(request).await.unwrap();
    for node in &nodes[1..] {
        node.join("crash").await;
    }
    // The seed fixes the order of the crashes, but not their moments.
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut acknowledged = vec![];
    for crash in 0..CRASHES {
        let book: Vec<_> = (0..3)
            .map(|_| std::sync::Arc::new(std::sync::Mutex::new(vec![])))
            .collect();
        let trainers: Vec<_> = swarm
            .nodes()
            .into_iter()
            .zip(&book)
            .map(|(node, book)| tokio::spawn(train(node, book.clone(), crash as f32)))
            .collect();
        let enough = rng.random_range(1..=3usize);
        wait::until(
            &format!("{enough} acknowledged submissions on each node, crash {crash}"),
            || async { book.iter().all(|b| b.lock().unwrap().len() >= enough).then_some(()) },
        )
        .await;
        let victim = rng.random_range(0..3usize);
        let daemon = swarm.daemons.remove(victim).kill_and_restart();
        for trainer in trainers {
            trainer.abort();
        }
        swarm.daemons.insert(victim, daemon);
        for (i, book) in book.iter().enumerate() {
            acknowledged.extend(book.lock().unwrap().iter().map(|id| (i, id.clone())));
        }
    }
    let nodes = swarm.nodes();
    for (i, id) in &acknowledged {
        let found = nodes[*i].submission(id, false).await;
        assert!(
            found.is_ok(),
            "submission {id} of node {i} was acknowledged and is gone: {found:?}"
        );
    }
    // All nodes make one more round. Then every submission has an answer, and all heads are the same.
    let last = wait::until("one head everywhere after a last round", || async {
        for (i, node) in nodes.iter().enumerate() {
            let fetched = node.fetch("crash", "").await.ok()?;
            // The node refuses this submission if it has contributed already.
            let _ = node.submit("crash", &fetched.id(), 1, &vector(&[i as f32])).await;
        }
        let heads = futures::future::join_all(nodes.iter().map(|n| n.fetch("crash", ""))).await;
        let heads: Vec<_> = heads.into_iter().collect::<Result<_, _>>().ok()?;
        heads
            .windows(2)
            .all(|w| w[0].id() == w[1].id() && w[0].file == w[1].file)
            .then(|| heads[0].clone())
    })
    .await;
    assert!(
        last.round() >= CRASHES as u64,
        "{} rounds in {CRASHES} crashes",
        last.round()
    );
    wait::until("every acknowledged submission to be answered for", || async {
        for (i, id) in &acknowledged {
            let state = nodes[*i].submission(id, false).await.unwrap();
            if matches!(state.state(), SubmissionState::Pending | SubmissionState::Merged) {
                for node in &nodes {
                    let fetched = node.fetch("crash", "").await.ok()?;
                    let _ = node.submit("crash", &fetched.id(), 1, &vector(&[1.0])).await;
                }
                return None;
            }
        }
        Some(())
    })
    .await;
}
