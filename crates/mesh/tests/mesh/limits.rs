//! Sizes and rates at which the library breaks links by default.

use std::time::Duration;

use qres_mesh::{Degree, ENVELOPE_BYTES_MAX, MeshConfig, MeshError, Mode, Topic};

use crate::harness::{self, Node, full_mesh, node, pair, until};

fn envelope(n: usize, bytes: usize) -> Vec<u8> {
    let mut data = vec![0xa5; bytes];
    data[..8].copy_from_slice(&(n as u64).to_le_bytes());
    data
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_of_every_size_up_to_the_limit_arrive() {
    let (a, b) = pair(|_| {}).await;
    // Two bursts: the sizes that broke a link under a 64 KiB limit, and the largest size many times.
    let sizes: Vec<usize> = (0..64)
        .map(|n| ENVELOPE_BYTES_MAX - n * 64)
        .chain([ENVELOPE_BYTES_MAX; 136])
        .collect();
    for (n, bytes) in sizes.iter().enumerate() {
        a.mesh.publish(Topic::Epiphany, envelope(n, *bytes)).await.unwrap();
    }
    until("all of them", || b.heard_count() == sizes.len()).await;
    b.mesh.publish(Topic::Epiphany, b"back".to_vec()).await.unwrap();
    until("the other direction", || a.has_heard(Topic::Epiphany, b"back")).await;
    assert_eq!(b.mesh.counters().watchdog_reconnects.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_the_limit_is_an_error_that_names_it() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let error = a
        .mesh
        .publish(Topic::State, vec![0; ENVELOPE_BYTES_MAX + 1])
        .await
        .unwrap_err();
    assert!(
        matches!(error, MeshError::TooLarge { bytes, limit } if bytes == limit + 1 && limit == ENVELOPE_BYTES_MAX),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_within_a_heartbeat_leave_every_link_alive() {
    // Each node forwards to one neighbour, so the two others get IHAVE: 900 ids at once are 20 KiB; the library's limit is 16
    // KiB.
    let narrow = |c: &mut MeshConfig| {
        c.overrides.gossip_degree = Degree {
            n: 1,
            low: 1,
            high: 1,
            outbound_min: 0,
        };
    };
    let first = node(Mode::Node, &[], narrow).await;
    let mut nodes = vec![first];
    for _ in 0..3 {
        nodes.push(node(Mode::Node, &[nodes[0].address()], narrow).await);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    full_mesh(&all).await;
    let (count, authors) = (300, 3);
    for n in 0..count {
        for (at, author) in all.iter().take(authors).enumerate() {
            author
                .mesh
                .publish(Topic::State, envelope(n * 10 + at, 200))
                .await
                .unwrap();
        }
    }
    until("all messages", || {
        let enough = |(at, n): (usize, &&Node)| n.heard_count() >= count * (authors - usize::from(at < authors));
        all.iter().enumerate().all(enough)
    })
    .await;
    // Three gossip heartbeats later the ids have been sent; every direction must still carry messages.
    tick(&all, 8).await;
    for (at, author) in all.iter().enumerate() {
        author.mesh.publish(Topic::Epiphany, envelope(at, 16)).await.unwrap();
    }
    until("every direction", || {
        let others = |at: usize| (0..all.len()).filter(move |o| *o != at);
        all.iter()
            .enumerate()
            .all(|(at, n)| others(at).all(|o| n.has_heard(Topic::Epiphany, &envelope(o, 16))))
    })
    .await;
    let reconnects: u64 = all.iter().map(|n| n.mesh.counters().watchdog_reconnects.get()).sum();
    assert_eq!(reconnects, 0, "a link died and was healed: it should not have died");
}

/// Waits until all the nodes have sent this many heartbeats more.
async fn tick(nodes: &[&Node], beats: u64) {
    let sent = |n: &Node| n.mesh.counters().heartbeats_sent.get();
    let before: Vec<u64> = nodes.iter().map(|n| sent(n)).collect();
    until("heartbeats", || {
        nodes.iter().zip(&before).all(|(n, b)| sent(n) >= b + beats)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seventeen_nodes_on_one_host_hear_each_other() {
    harness::log::collect();
    // Seventeen nodes receive 272 heartbeats per period in all: too much for a debug build at two periods a second.
    let calm = |c: &mut MeshConfig| c.timings.heartbeat_min = Duration::from_secs(2);
    let boot = node(Mode::Bootstrap, &[], calm).await;
    let mut nodes = vec![];
    // With sixteen peers on one address the library's default gives (16 - 10)^2 * -5 = -180, far below graylisting (-80).
    for _ in 0..16 {
        nodes.push(node(Mode::Node, &[boot.address()], calm).await);
    }
    let all: Vec<&Node> = nodes.iter().chain([&boot]).collect();
    full_mesh(&all).await;
    // gossipsub updates the scores with each of its heartbeats, once a second: after three of them a low score has its
    // effect.
    tick(&all, 3).await;
    for (at, author) in all.iter().enumerate() {
        author.mesh.publish(Topic::State, envelope(at, 16)).await.unwrap();
    }
    until("everyone hears everyone", || {
        all.iter().all(|n| n.heard_count() == all.len() - 1)
    })
    .await;
    for n in &all {
        assert!(n.sees(&all));
        let peers = n.mesh.peers().await.unwrap();
        assert!(peers.iter().all(|p| p.score == 0.0), "{peers:#?}");
    }
}
