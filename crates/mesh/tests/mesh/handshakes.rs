//! Sockets that are opened and left half open.

use std::time::Duration;

use qres_mesh::{HandshakeLimits, MeshConfig, Mode};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{DEADLINE, Node, full_mesh, node, until};

/// Sets deadlines so long that none of them ends a handshake in the test.
fn patient(config: &mut MeshConfig) {
    config.timings.handshake = Duration::from_secs(600);
    config.timings.dial = Duration::from_secs(600);
}

/// Opens a socket from another address of this machine, and sends nothing.
async fn half_open(target: &Node, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(target.host_port().parse().unwrap()).await.unwrap()
}

/// Waits until the node has closed the socket.
async fn closed(socket: &mut TcpStream) {
    let end = async {
        let mut bytes = [0; 256];
        // The node may have sent its first bytes before it closes.
        while socket.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    };
    tokio::time::timeout(DEADLINE, end).await.expect("never closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_sockets_lock_no_newcomer_out() {
    let target = node(Mode::Node, &[], patient).await;
    let mut sockets = vec![];
    for _ in 0..300 {
        sockets.push(half_open(&target, "127.0.0.1").await);
    }
    let newcomer = node(Mode::Node, &[target.address()], |_| {}).await;
    full_mesh(&[&target, &newcomer]).await;
    closed(&mut sockets[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_so_many_handshakes_and_takes_no_place_of_another() {
    let target = node(Mode::Node, &[], |c| {
        patient(c);
        c.overrides.handshakes = HandshakeLimits {
            total: 5,
            per_host: 4,
            loopback: 4,
        };
    })
    .await;
    let displaced = || target.mesh.counters().handshakes_displaced.get();
    let mut other = half_open(&target, "127.0.0.9").await;
    let mut sockets = vec![];
    for _ in 0..4 {
        sockets.push(half_open(&target, "127.0.0.2").await);
    }
    for more in 1..=3 {
        sockets.push(half_open(&target, "127.0.0.2").await);
        until("the oldest one's place is taken", || displaced() == more).await;
        closed(&mut sockets[more as usize - 1]).await;
    }
    // All five places are taken now: a newcomer takes one of the address that has most.
    let newcomer = node(Mode::Node, &[target.address()], |_| {}).await;
    full_mesh(&[&target, &newcomer]).await;
    closed(&mut sockets[3]).await;
    let quiet = tokio::time::timeout(Duration::from_millis(1), closed(&mut other)).await;
    assert!(quiet.is_err(), "the address with one handshake keeps it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_has_a_deadline() {
    let target = node(Mode::Node, &[], |c| {
        c.timings.dial = Duration::from_secs(600);
        c.timings.handshake = Duration::from_millis(100);
    })
    .await;
    closed(&mut half_open(&target, "127.0.0.1").await).await;
    assert_eq!(target.mesh.counters().handshakes_displaced.get(), 0);
}
