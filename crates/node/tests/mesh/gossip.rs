//! Gossip arrives.

use qres_node::mesh::{Mode, Topic};

use crate::harness::{self, full_mesh, node, pair, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_publishes_all_others_judge_and_the_bootstrap_node_forwards() {
    harness::log::collect();
    let boot = node(Mode::Bootstrap, &[], |_| {}).await;
    // Only the bootstrap node connects the two: they may not dial each other.
    let lonely = |c: &mut qres_node::mesh::MeshConfig| c.peers_target = 1;
    let a = node(Mode::Node, &[boot.address()], lonely).await;
    let b = node(Mode::Node, &[boot.address()], lonely).await;
    full_mesh(&[&a, &boot]).await;
    full_mesh(&[&b, &boot]).await;
    a.mesh.publish(Topic::Epiphany, b"one".to_vec()).await.unwrap();
    b.mesh.publish(Topic::State, b"two".to_vec()).await.unwrap();
    until("both everywhere", || {
        b.has_heard(Topic::Epiphany, b"one")
            && boot.has_heard(Topic::Epiphany, b"one")
            && a.has_heard(Topic::State, b"two")
    })
    .await;
    let heard = b.heard.lock().unwrap();
    assert_eq!(heard.messages[0].source, a.node, "the author, not the forwarder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_alone_reaches_the_first_peer() {
    let a = node(Mode::Node, &[], |_| {}).await;
    a.mesh.publish(Topic::Epiphany, b"early".to_vec()).await.unwrap();
    assert_eq!(a.mesh.counters().publish_kept.get(), 1);
    let b = node(Mode::Node, &[a.address()], |_| {}).await;
    until("the kept message", || b.has_heard(Topic::Epiphany, b"early")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_talk() {
    let (a, b) = pair(|_| {}).await;
    a.mesh.publish(Topic::State, vec![7; 1000]).await.unwrap();
    until("the message", || b.has_heard(Topic::State, &[7; 1000])).await;
}
