//! Gossip that dies in one direction is noticed and healed.

use qres_node::mesh::{Mode, Topic};

use crate::harness::{full_mesh, node, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_on_which_gossip_died_is_reconnected() {
    // The receiver's frame limit is below the envelope limit, so one large envelope kills the direction towards it, exactly as
    // the library does with its own default.
    let a = node(Mode::Node, &[], |_| {}).await;
    let b = node(Mode::Node, &[a.address()], |c| {
        c.overrides.gossip_frame_bytes_max = 4 * 1024
    })
    .await;
    full_mesh(&[&a, &b]).await;
    a.mesh.publish(Topic::State, b"before".to_vec()).await.unwrap();
    until("the link works", || b.has_heard(Topic::State, b"before")).await;

    a.mesh.publish(Topic::State, vec![1; 8 * 1024]).await.unwrap();
    a.mesh.publish(Topic::State, b"lost".to_vec()).await.unwrap();
    until("the watchdog bites", || {
        b.mesh.counters().watchdog_reconnects.get() >= 1
    })
    .await;
    until("b told of it", || !b.heard.lock().unwrap().disconnected.is_empty()).await;
    full_mesh(&[&a, &b]).await;

    a.mesh.publish(Topic::State, b"after".to_vec()).await.unwrap();
    until("the link works again", || b.has_heard(Topic::State, b"after")).await;
    assert!(
        !b.has_heard(Topic::State, b"lost"),
        "the link was dead: what the test is about"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_links_are_left_alone() {
    let (a, b) = crate::harness::pair(|_| {}).await;
    let heartbeats = |n: &crate::harness::Node| n.mesh.counters().heartbeats_received.get();
    // Longer than the patience of four periods.
    until("ten heartbeats each", || heartbeats(&a) >= 10 && heartbeats(&b) >= 10).await;
    for n in [&a, &b] {
        assert_eq!(n.mesh.counters().watchdog_reconnects.get(), 0);
        assert!(n.heard.lock().unwrap().disconnected.is_empty());
    }
}
