//! Gossip arrives at the nodes that should get it.

use qres_fed::id::{CheckpointId, SpecId};
use qres_mesh::{HeadClaim, MeshEvent, Mode, Topic, Verdict};

use crate::harness::{self, full_mesh, node, pair, until};
use crate::raw::{self, Manners, Raw, Saw};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_publishes_all_others_judge_and_the_bootstrap_node_forwards() {
    harness::log::collect();
    let boot = node(Mode::Bootstrap, &[], |_| {}).await;
    let a = node(Mode::Node, &[], |_| {}).await;
    let b = node(Mode::Node, &[], |_| {}).await;
    // The ban keeps a and b apart, so only the bootstrap node connects them.
    a.mesh.ban(b.node, "for the test".to_owned(), HOUR).await.unwrap();
    a.mesh.dial(&boot.address()).await.unwrap();
    b.mesh.dial(&boot.address()).await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_travel_at_once_and_show_in_the_peer_list() {
    let (a, b) = pair(|c| c.timings.heartbeat_min = std::time::Duration::from_secs(600)).await;
    let claim = HeadClaim {
        spec: SpecId([1; 32]),
        checkpoint: CheckpointId([2; 32]),
        round: 3,
    };
    // The heartbeat period is ten minutes, so only the change of heads can cause the next heartbeat.
    until("first heartbeats", || b.mesh.counters().heartbeats_received.get() >= 1).await;
    a.heads.send_replace(vec![claim]);
    until("the heads", || {
        b.heard.lock().unwrap().heads.contains(&(a.node, vec![claim]))
    })
    .await;
    let view = b.view_of(a.node).await.unwrap();
    assert_eq!(view.heads, [(claim.spec, claim.checkpoint, 3)]);
    until("the peer event", || {
        b.heard
            .lock()
            .unwrap()
            .views
            .iter()
            .any(|v| v.node == a.node && !v.heads.is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_move_all_the_time_are_told_at_a_bounded_rate() {
    let gap = std::time::Duration::from_secs(600);
    let (a, b) = pair(|c| {
        c.timings.heartbeat_min = gap;
        c.timings.heartbeat_gap = gap;
    })
    .await;
    until("the first", || a.mesh.counters().heartbeats_sent.get() == 1).await;
    for round in 0..100 {
        a.heads.send_replace(vec![HeadClaim {
            spec: SpecId([1; 32]),
            checkpoint: CheckpointId([2; 32]),
            round,
        }]);
        a.mesh
            .publish(Topic::State, vec![u8::try_from(round).unwrap()])
            .await
            .unwrap();
    }
    until("all else", || b.heard_count() == 100).await;
    assert_eq!(a.mesh.counters().heartbeats_sent.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_message_goes_no_further() {
    // The nodes form a line: a, middle, c. The middle's reader rejects what the others accept.
    let middle_dir = tempfile::tempdir().unwrap();
    let identity = qres_wire::identity::Identity::ephemeral();
    let (_heads, receiver) = tokio::sync::watch::channel(Vec::new());
    let config = harness::config(Mode::Node, middle_dir.path());
    let (middle, mut events) = qres_mesh::start(config, &identity, receiver).await.unwrap();
    let address = middle.listen_addresses()[0].clone();
    let a = node(Mode::Node, &[], |_| {}).await;
    let c = node(Mode::Node, &[], |_| {}).await;
    a.mesh.ban(c.node, "for the test".to_owned(), HOUR).await.unwrap();
    a.mesh.dial(&address).await.unwrap();
    c.mesh.dial(&address).await.unwrap();
    let judge = middle.clone();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let MeshEvent::Message(message) = event {
                let verdict = match message.data.as_slice() {
                    b"good" => Verdict::Accept,
                    b"late" => Verdict::Ignore,
                    _ => Verdict::Reject,
                };
                judge.report(message.token, verdict).await;
            }
        }
    });
    until("a line", || middle.connected().len() == 2).await;
    for data in [&b"bad"[..], b"late", b"good"] {
        a.mesh.publish(Topic::State, data.to_vec()).await.unwrap();
    }
    until("the good one", || c.has_heard(Topic::State, b"good")).await;
    assert!(!c.has_heard(Topic::State, b"bad") && !c.has_heard(Topic::State, b"late"));
    assert!(!a.sees(&[&c]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_takes_nothing_stops_nobody() {
    // The queue holds four events. Connects and peer views fill it, and nothing reads it.
    let dir = tempfile::tempdir().unwrap();
    let identity = qres_wire::identity::Identity::ephemeral();
    let mut config = harness::config(Mode::Node, dir.path());
    config.overrides.events_max = 4;
    let (_heads, receiver) = tokio::sync::watch::channel(Vec::new());
    let (slow, mut events) = qres_mesh::start(config, &identity, receiver).await.unwrap();
    let a = node(Mode::Node, &[slow.listen_addresses()[0].clone()], |_| {}).await;
    until("connected", || slow.connected() == [a.node]).await;
    for n in 0..100 {
        a.mesh.publish(Topic::State, vec![n]).await.unwrap();
    }
    until("ignored, and counted", || {
        slow.counters().ignored_queue_full.get() >= 96
    })
    .await;
    assert!(
        slow.peers().await.unwrap().iter().any(|p| p.node == a.node),
        "it still answers"
    );
    slow.publish(Topic::State, b"alive".to_vec()).await.unwrap();
    until("and sends", || a.has_heard(Topic::State, b"alive")).await;
    // When the layer above reads again, it still gets the event that a connected.
    loop {
        if let MeshEvent::Connected(who) = events.recv().await.unwrap() {
            assert_eq!(who, a.node);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_reads_nothing_hurts_no_other() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let b = node(Mode::Node, &[a.address()], |_| {}).await;
    full_mesh(&[&a, &b]).await;
    let runtime = std::thread::spawn({
        let address = a.address();
        move || frozen_peer(&address)
    });
    until("the peer that will freeze", || a.mesh.connected().len() == 2).await;
    let frozen = runtime.join().unwrap();
    for n in 0..400_u16 {
        let mut data = vec![9; 60 * 1024];
        data[..2].copy_from_slice(&n.to_le_bytes());
        a.mesh.publish(Topic::State, data).await.unwrap();
    }
    until("all of it, at the other", || b.heard_count() == 400).await;
    assert!(a.sees(&[&b]));
    std::thread::spawn(move || drop(frozen)).join().unwrap();
}

/// Starts a peer on a runtime of its own. It is connected and admitted, and then never polled again.
fn frozen_peer(address: &str) -> impl Sized + use<> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let raw = runtime.block_on(async {
        let mut raw = Raw::dial(address, Manners::Says(raw::hello()));
        // The hellos come in any order. A heartbeat after both shows that the peer has answered the second one.
        let mut hellos = 0;
        raw.until("both hellos and a heartbeat", |saw| {
            hellos += usize::from(matches!(saw, Saw::Hello));
            hellos >= 2 && matches!(saw, Saw::Message)
        })
        .await;
        raw
    });
    (runtime, raw)
}
