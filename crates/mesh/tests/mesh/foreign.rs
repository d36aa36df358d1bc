//! Peers that do not run this project's code, or that do not behave well.

use qres_mesh::PeerState;
use qres_mesh::{Mode, Topic};

use crate::harness::{node, until, until_async};
use crate::raw::{self, Manners, Raw, Saw};

async fn admitted_raw(target: &crate::harness::Node) -> Raw {
    let mut raw = Raw::dial(&target.address(), Manners::Says(raw::hello()));
    raw.until("a subscription", |s| matches!(s, Saw::Subscribed)).await;
    until("admitted", || target.mesh.connected().contains(&raw.node)).await;
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_speaks_its_newest_protocol() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let mut raw = Raw::dial(&a.address(), Manners::Says(raw::hello()));
    let seen = raw.until("identify", |s| matches!(s, Saw::Identified(_))).await;
    let Saw::Identified(info) = seen else { unreachable!() };
    assert_eq!(info.protocol_version, "qres/10.0");
    assert!(info.agent_version.starts_with("qres-node/"));
    let protocols: Vec<_> = info.protocols.iter().map(AsRef::as_ref).collect();
    for wanted in [
        "/meshsub/1.2.0",
        "/meshsub/1.3.0",
        "/qres/kad/10",
        "/qres/hello/0",
        "/ipfs/ping/1.0.0",
    ] {
        assert!(protocols.contains(&wanted), "{wanted} is missing in {protocols:?}");
    }
    assert!(info.listen_addrs.len() <= 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_our_hello_is_refused() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let raw = Raw::dial(&a.address(), Manners::Foreign);
    until_async("refused", || async {
        matches!(a.state_of(raw.node).await, Some(PeerState::Refused(why)) if why.contains("no qres node"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_nothing_or_rubbish_is_disconnected() {
    let a = node(Mode::Node, &[], |c| {
        c.timings.hello = std::time::Duration::from_millis(300);
    })
    .await;
    let rubbish = [vec![0xff; 100], vec![b'x'; 10_000], b"\x0a\x03a\nb".to_vec()].map(Manners::Says);
    for manners in rubbish.into_iter().chain([Manners::Silent]) {
        let mut raw = Raw::dial(&a.address(), manners);
        raw.until("the connection's end", |s| matches!(s, Saw::Closed)).await;
        assert!(a.mesh.connected().is_empty());
    }
    assert_eq!(a.mesh.counters().admitted.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_says_before_its_hello_waits_and_is_dropped_when_none_comes() {
    let a = node(Mode::Node, &[], |c| {
        c.timings.hello = std::time::Duration::from_secs(10);
    })
    .await;
    let mut raw = Raw::dial(&a.address(), Manners::Silent);
    raw.until("a subscription", |s| matches!(s, Saw::Subscribed)).await;
    for n in 0..50 {
        raw.publish("qres/v1/state", vec![n; 10]);
    }
    // 32 messages wait, the others are ignored at once; when the connection ends, the waiting ones are ignored too.
    until("all ignored", || a.mesh.counters().ignored_not_admitted.get() >= 50).await;
    assert_eq!(a.heard_count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_and_malformed_gossip_is_rejected_and_costs_its_sender() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let raw = admitted_raw(&a).await;
    raw.publish("qres/v1/epiphany", vec![1; 64 * 1024 + 1]);
    raw.publish("qres/v1/heartbeat", vec![0xff; 50]);
    raw.publish("qres/v1/heartbeat", vec![0; 9000]);
    until("three rejected", || a.mesh.counters().rejected.get() == 3).await;
    raw.publish("qres/v1/epiphany", b"fine".to_vec());
    until("a good one", || a.has_heard(Topic::Epiphany, b"fine")).await;
    assert_eq!(a.heard_count(), 1, "the oversized one was not shown");
    // gossipsub drops everything from a peer with about seven rejected messages (settings.rs, P4), and the peer list shows
    // it.
    for n in 0..12 {
        raw.publish("qres/v1/epiphany", vec![n; 64 * 1024 + 2]);
    }
    until_async("scored down", || async {
        a.view_of(raw.node).await.is_some_and(|v| v.score < 0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_author_that_floods_is_ignored_beyond_its_allowance() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let raw = admitted_raw(&a).await;
    for n in 0..3_000_u32 {
        raw.publish("qres/v1/state", n.to_le_bytes().to_vec());
    }
    until("the excess ignored", || a.mesh.counters().ignored_author_rate.get() > 0).await;
    let counters = a.mesh.counters();
    let all = |wanted| move || counters.received.get() == wanted;
    until("every message judged", all(3_000)).await;
    assert!(a.heard_count() >= 512, "the burst passes: {}", a.heard_count());
    let ignored = counters.ignored_author_rate.get();
    for uptime in 0..100 {
        raw.publish("qres/v1/heartbeat", vec![0x08, uptime]);
    }
    until("every heartbeat judged", all(3_100)).await;
    assert!(counters.heartbeats_received.get() >= 8);
    assert!(
        counters.ignored_author_rate.get() > ignored,
        "heartbeats have a limit too"
    );
    assert!(a.mesh.connected().contains(&raw.node), "nobody is sent away for it");
}
