//! Gossip that dies in one direction is noticed and healed.

use qres_mesh::{Mode, Topic};

use crate::harness::{Node, full_mesh, node, pair, until, until_async};

/// Connects two nodes. The receiver's frame limit is below the envelope limit, so a large envelope breaks the direction
/// towards it, just as happens with the library's own default limits.
async fn fragile(transport: &str) -> (Node, Node) {
    let a = node(Mode::Node, &[], |_| {}).await;
    let listen = a.mesh.listen_addresses();
    let address = listen.into_iter().find(|l| l.contains(transport)).unwrap();
    let b = node(Mode::Node, &[address], |c| {
        c.overrides.gossip_frame_bytes_max = 4 * 1024;
        c.timings.watchdog_periods = 4;
    })
    .await;
    full_mesh(&[&a, &b]).await;
    a.mesh.publish(Topic::State, b"before".to_vec()).await.unwrap();
    until("the link works", || b.has_heard(Topic::State, b"before")).await;
    (a, b)
}

/// Waits until the link works again. For three gossip heartbeats a offers b the large messages again. b asks for them, so the
/// link may break once more.
async fn healed(a: &Node, b: &Node) {
    until("b told of it", || !b.heard.lock().unwrap().disconnected.is_empty()).await;
    let heard = b.heard_count();
    let mut n = 0_u32;
    until_async("the link works again", || {
        n += 1;
        let publish = a.mesh.publish(Topic::State, n.to_le_bytes().to_vec());
        async move {
            publish.await.unwrap();
            b.heard_count() > heard
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_on_which_gossip_died_is_reconnected() {
    let (a, b) = fragile("/tcp/").await;
    a.mesh.publish(Topic::State, vec![1; 8 * 1024]).await.unwrap();
    a.mesh.publish(Topic::State, b"lost".to_vec()).await.unwrap();
    until("the watchdog bites", || {
        b.mesh.counters().watchdog_reconnects.get() >= 1
    })
    .await;
    healed(&a, &b).await;
    assert!(
        !b.has_heard(Topic::State, b"lost"),
        "the link was dead: what the test is about"
    );
}

/// QUIC tells the sender that its stream was dropped, and gossipsub opens another one. After five of them it gives up for
/// good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_whose_gossip_gave_up_is_reconnected() {
    let (a, b) = fragile("/quic-v1").await;
    let mut n = 0_u32;
    until_async("the watchdog bites", || {
        n += 1;
        let mut large = vec![1; 8 * 1024];
        large[..4].copy_from_slice(&n.to_le_bytes());
        let publish = a.mesh.publish(Topic::State, large);
        let b = &b;
        async move {
            publish.await.unwrap();
            b.mesh.counters().watchdog_reconnects.get() >= 1
        }
    })
    .await;
    healed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_links_are_left_alone() {
    let (a, b) = pair(|c| c.timings.watchdog_periods = 4).await;
    let heartbeats = |n: &Node| n.mesh.counters().heartbeats_received.get();
    // Ten heartbeats take longer than the watchdog's patience of four periods.
    until("ten heartbeats each", || heartbeats(&a) >= 10 && heartbeats(&b) >= 10).await;
    for n in [&a, &b] {
        assert_eq!(n.mesh.counters().watchdog_reconnects.get(), 0);
        assert!(n.heard.lock().unwrap().disconnected.is_empty());
    }
}
