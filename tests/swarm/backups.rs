//! A node that returns from an old copy of its data directory.

use std::path::Path;

use qres_tests::weights::vector;
use qres_tests::{Node, Swarm, wait};

use crate::rounds::node_ids;
use crate::{head, vector_model};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// Submits on this base at each [`Node`], and returns the id of the next head once all have reached this round.
async fn round(nodes: &[Node], base: &str, number: u64) -> String {
    for node in nodes {
        node.submit("m", base, 1, &vector(&[1.0])).await.expect("submitted");
    }
    let mut next = String::new();
    for node in nodes {
        next = node.wait_for_round("m", number).await.id().to_owned();
    }
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_back_from_an_old_copy_signs_nothing_twice() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = qres_api::pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        ..vector_model("m", &[0.0])
    };
    let zero = head(&nodes[0].create(request).await.expect("a model"));
    for node in &nodes[1..] {
        node.join("m").await;
        node.wait_for_round("m", 0).await;
    }
    // The copy is of a stopped node that has not contributed anything yet.
    let stopped = swarm.daemons.pop().expect("three").terminate().0;
    let backup = tempfile::tempdir().expect("a directory");
    copy(&stopped.data_dir(), &backup.path().join("data"));
    swarm.daemons.push(stopped.start());
    let nodes = swarm.nodes();
    let one = round(&nodes, &zero, 1).await;
    let two = round(&nodes, &one, 2).await;

    let stopped = swarm.daemons.pop().expect("three").kill();
    std::fs::remove_dir_all(stopped.data_dir()).expect("removed");
    copy(&backup.path().join("data"), &stopped.data_dir());
    swarm.daemons.push(stopped.start());
    let back = swarm.daemons[2].node();
    // A trainer that still has work on the first weights submits it at once. The node has already contributed on these weights.
    let old = back.submit("m", &zero, 1, &vector(&[5.0])).await;
    if let Ok(accepted) = old {
        wait::until("the old work to be refused", || async {
            let now = back.submission(&accepted.id, false).await.expect("it is known");
            (now.state() == qres_api::pb::SubmissionState::Rejected).then_some(())
        })
        .await;
    }
    assert_eq!(back.wait_for_round("m", 2).await.id(), two);
    round(&swarm.nodes(), &two, 3).await;
    for daemon in &swarm.daemons {
        let log = daemon.log();
        assert!(!log.contains("signed two contributions"), "{log}");
    }
}
