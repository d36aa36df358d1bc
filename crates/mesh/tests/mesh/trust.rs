//! Faults, bans, and what an operator sees of them.

use std::time::Duration;

use qres_mesh::PeerState;
use qres_mesh::{Fault, Mode};

use crate::harness::{full_mesh, node, node_in, pair, until, until_async};
use crate::raw::{self, Manners, Raw, Saw};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_ban_tells_why_lasts_across_a_restart_and_can_be_lifted() {
    let (a, b) = pair(|_| {}).await;
    a.mesh
        .ban(b.node, "spoils rounds".to_owned(), Duration::from_secs(3600))
        .await
        .unwrap();
    until_async("banned there, refused here", || async {
        let at_a = a.state_of(b.node).await;
        let at_b = b.state_of(a.node).await;
        matches!(at_a, Some(PeerState::Banned(why, until)) if why == "spoils rounds" && until > 0)
            && matches!(at_b, Some(PeerState::Refused(why)) if why == "it banned this node: spoils rounds")
    })
    .await;
    assert!(a.mesh.connected().is_empty());

    a.mesh.stop().await;
    let a = node_in(a.dir, a.identity, Mode::Node, &[], |_| {}).await.unwrap();
    assert!(matches!(a.state_of(b.node).await, Some(PeerState::Banned(..))));
    b.mesh.dial(&a.address()).await.unwrap();
    until("the banned one tried and was turned away", || {
        a.mesh.counters().inbound_failures.get() >= 1
    })
    .await;
    assert!(a.mesh.connected().is_empty());

    a.mesh.unban(b.node).await.unwrap();
    full_mesh(&[&a, &b]).await;
}

/// The answer to an earlier hello does not end the connection: the banned peer has not heard yet why it has to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_not_cut_off_before_it_has_answered_the_goodbye() {
    let a = node(Mode::Node, &[], |c| c.timings.goodbye = Duration::from_secs(3600)).await;
    let mut peer = Raw::dial(&a.address(), Manners::Late(raw::hello()));
    until("admitted", || a.mesh.connected().contains(&peer.node)).await;
    a.mesh
        .ban(peer.node, "spoils rounds".to_owned(), Duration::from_secs(3600))
        .await
        .unwrap();
    let mut hellos = 0;
    peer.until("its connection close", |saw| {
        hellos += u32::from(matches!(saw, Saw::Hello));
        matches!(saw, Saw::Closed)
    })
    .await;
    assert_eq!(hellos, 4, "two from the node, and an answer to each of its own two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_ends_by_itself() {
    let (a, b) = pair(|_| {}).await;
    a.mesh
        .ban(b.node, "short".to_owned(), Duration::from_millis(1500))
        .await
        .unwrap();
    until("gone", || a.heard.lock().unwrap().disconnected.contains(&b.node)).await;
    full_mesh(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forger_is_sent_away_then_banned() {
    let (a, b) = pair(|_| {}).await;
    a.mesh.penalize(b.node, Fault::Withheld, "blob 1234".to_owned());
    until_async("scored", || async {
        a.view_of(b.node).await.is_some_and(|v| v.score < -1.0)
    })
    .await;
    assert_eq!(a.state_of(b.node).await, Some(PeerState::Connected), "one is nothing");

    a.mesh
        .penalize(b.node, Fault::Forged, "blob 5678 has another digest".to_owned());
    until_async("sent away", || async {
        let at_a = a.state_of(b.node).await;
        matches!(at_a, Some(PeerState::Refused(why)) if why.contains("blob 5678")) && a.mesh.connected().is_empty()
    })
    .await;
    a.mesh.penalize(b.node, Fault::Forged, "again".to_owned());
    until_async("banned", || async {
        matches!(a.state_of(b.node).await, Some(PeerState::Banned(why, _)) if why.contains("again"))
    })
    .await;
    assert_eq!(a.mesh.counters().banned.get(), 1);
    assert!(a.view_of(b.node).await.unwrap().score <= -80.0);
}
