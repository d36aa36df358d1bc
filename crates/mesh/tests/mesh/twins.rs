//! Two processes with one identity.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use qres_mesh::{Mode, Twin};
use qres_wire::identity::Identity;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{self, Node, full_mesh, node, node_in, until};
use crate::raw::{self, Manners, Raw, Saw};

async fn copy_of(identity: &Identity, bootstrap: &[String]) -> Node {
    let dir = tempfile::tempdir().unwrap();
    node_in(dir, identity.clone(), Mode::Node, bootstrap, |_| {})
        .await
        .unwrap()
}

fn twin(node: &Node) -> Option<Twin> {
    node.mesh.twin().borrow().clone()
}

/// Waits until both nodes know of each other. Returns the place where each met the other.
async fn both_know(a: &Node, b: &Node) -> [String; 2] {
    let mut met = [String::new(), String::new()];
    until("both know", || {
        let (at_a, at_b) = (twin(a), twin(b));
        met = [at_a, at_b].map(|twin| twin.map(|t| t.address).unwrap_or_default());
        met.iter().all(|address| !address.is_empty())
    })
    .await;
    met
}

/// Waits until a node has sent `count` more heartbeats. Several of the silences that end a twin pass meanwhile.
async fn heartbeats(node: &Node, count: u64) {
    let sent = || node.mesh.counters().heartbeats_sent.get();
    let before = sent();
    until("heartbeats", || sent() >= before + count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_each_other_both_say_so_until_one_is_gone() {
    harness::log::collect();
    let a = node(Mode::Node, &[], |_| {}).await;
    let b = copy_of(&a.identity, &[a.host_port()]).await;
    let port = |node: &Node| node.host_port().rsplit_once(':').unwrap().1.to_owned();
    let [at_a, at_b] = both_know(&a, &b).await;
    assert!(at_a.contains("/ip4/127.0.0.1/"), "{at_a}");
    // The address is a TCP or a QUIC one, on the same port.
    assert!(at_b.contains("/ip4/127.0.0.1/") && at_b.contains(&port(&a)), "{at_b}");
    for address in [&at_a, &at_b] {
        let said = harness::log::lines(&["ERROR", "another process runs with this node's identity", address]);
        assert!(!said.is_empty(), "{address}");
    }
    b.mesh.stop().await;
    until("the other is gone", || twin(&a).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_never_meet_hear_of_each_other_from_a_third() {
    harness::log::collect();
    let third = node(Mode::Node, &[], |_| {}).await;
    let a = node(Mode::Node, &[third.address()], |_| {}).await;
    full_mesh(&[&a, &third]).await;
    let b = copy_of(&a.identity, &[third.address()]).await;
    let told_by = qres_wire::identity::peer_id(&third.node).unwrap().to_string();
    for met in both_know(&a, &b).await {
        assert!(met.contains(&told_by) && met.contains("/ip4/127.0.0.1/"), "{met}");
    }
    let copied = qres_wire::identity::peer_id(&a.node).unwrap().to_string();
    assert!(!harness::log::lines(&["WARN", "two processes run with the identity", &copied]).is_empty());
    assert_eq!(twin(&third), None);
    b.mesh.stop().await;
    until("the other is gone", || twin(&a).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_no_twin() {
    let third = node(Mode::Node, &[], |_| {}).await;
    let mut a = node(Mode::Node, &[third.address()], |_| {}).await;
    for _ in 0..3 {
        full_mesh(&[&a, &third]).await;
        heartbeats(&a, 3).await;
        a.mesh.stop().await;
        a = node_in(a.dir, a.identity, Mode::Node, &[third.address()], |_| {})
            .await
            .unwrap();
        let twin = a.mesh.twin();
        full_mesh(&[&a, &third]).await;
        heartbeats(&a, 5).await;
        assert!(!twin.has_changed().unwrap(), "{:?}", *twin.borrow());
    }
}

/// The treatment of the bytes that a node sends to a stranger.
#[derive(Clone, Copy)]
enum Mirror {
    /// Sends all bytes back to the node, and the node's answers likewise, so the node dials itself without knowing it.
    Whole,
    /// Does as [`Mirror::Whole`], but keeps the last message of the handshake: the dialling end believes that the handshake
    /// is done.
    AllButTheLast,
}

async fn mirror(node: &Node, how: Mirror) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (listener.local_addr().unwrap().to_string(), node.host_port());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&target).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            // The listening end's protocol names have 28 bytes; together with its part of the handshake they have more
            // than 100.
            let answered = Arc::new(AtomicUsize::new(0));
            let seen = answered.clone();
            tokio::spawn(pass(far_in, near_out, move |bytes| {
                seen.fetch_add(bytes, Ordering::SeqCst);
                true
            }));
            tokio::spawn(pass(near_in, far_out, move |_| {
                matches!(how, Mirror::Whole) || answered.load(Ordering::SeqCst) < 100
            }));
        }
    });
    address
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    wanted: impl Fn(usize) -> bool,
) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        let n = from.read(&mut bytes).await?;
        if n == 0 {
            return Ok(());
        }
        if wanted(n) {
            to.write_all(&bytes[..n]).await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_mirrors_a_node_does_not_stop_it() {
    for how in [Mirror::Whole, Mirror::AllButTheLast] {
        let a = node(Mode::Node, &[], |_| {}).await;
        let other = node(Mode::Node, &[a.address()], |_| {}).await;
        full_mesh(&[&a, &other]).await;
        let twin = a.mesh.twin();
        let address = mirror(&a, how).await;
        let refused = a.mesh.dial(&address).await;
        assert!(refused.is_err(), "{refused:?}");
        until("the own key answered", || a.mesh.counters().dial_failures.get() >= 1).await;
        if matches!(how, Mirror::Whole) {
            until("the own key called", || a.mesh.counters().inbound_failures.get() >= 1).await;
        }
        // Ten heartbeats take longer than an inbound connection stays in doubt.
        heartbeats(&a, 10).await;
        assert!(!twin.has_changed().unwrap(), "{:?}", *twin.borrow());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_word_of_a_twin_is_worth_nothing() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let twin = a.mesh.twin();
    // The run in `twins` (field 9) has a number, a time far in the future, and an invalid signature.
    let boot = [
        &[0x0a, 16][..],
        &[7; 16],
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x1a, 64],
        &[9; 64],
    ]
    .concat();
    let hello = [raw::hello(), vec![0x4a, u8::try_from(boot.len()).unwrap()], boot].concat();
    let mut liar = Raw::dial(&a.address(), Manners::Says(hello));
    liar.until("a hello", |saw| matches!(saw, Saw::Hello)).await;
    until("admitted", || a.mesh.connected().contains(&liar.node)).await;
    heartbeats(&a, 3).await;
    assert!(!twin.has_changed().unwrap());
}
