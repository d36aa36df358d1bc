//! Nodes find each other, and find each other again.

use qres_mesh::PeerState;
use qres_mesh::{MeshConfig, MeshError, Mode, Timings, Topic};

use crate::harness::{self, Node, full_mesh, node, node_in, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_that_know_only_the_bootstrap_node_find_each_other() {
    harness::log::collect();
    let boot = node(Mode::Bootstrap, &[], |_| {}).await;
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(node(Mode::Node, &[boot.host_port()], |_| {}).await);
    }
    let all: Vec<&Node> = nodes.iter().chain([&boot]).collect();
    full_mesh(&all).await;
    let view = nodes[0].view_of(nodes[1].node).await.unwrap();
    assert_eq!(view.state, PeerState::Connected);
    assert!(view.addresses.iter().any(|a| a.contains("/tcp/")), "{view:?}");
    assert!(view.agent.starts_with("qres-node/") && view.connected_unix_ms.is_some());
    until("a round-trip time", || nodes[0].mesh.rtt(&nodes[1].node).is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_an_error_that_names_the_flag() {
    let first = node(Mode::Node, &[], |_| {}).await;
    let port: u16 = first.host_port().rsplit_once(':').unwrap().1.parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let second = node_in(dir, qres_wire::identity::Identity::ephemeral(), Mode::Node, &[], |c| {
        c.port = port
    })
    .await;
    let error = second.err().expect("two nodes on one port");
    assert!(
        matches!(error, MeshError::PortInUse { port: p, .. } if p == port),
        "{error}"
    );
    assert!(error.to_string().contains("--port"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_and_quic_share_one_port_number_and_both_work() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let listen = a.mesh.listen_addresses();
    let port = a.host_port().rsplit_once(':').unwrap().1.to_owned();
    let quic = listen.iter().find(|l| l.contains("/quic-v1")).unwrap();
    assert!(quic.contains(&format!("/udp/{port}/")), "{listen:?}");
    let b = node(Mode::Node, std::slice::from_ref(quic), |_| {}).await;
    full_mesh(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_node_that_is_down_is_tried_until_it_is_there() {
    harness::log::collect();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let bootstrap = format!("127.0.0.1:{port}");
    let a = node(Mode::Node, std::slice::from_ref(&bootstrap), |_| {}).await;
    until("said so in words", || {
        !harness::log::lines(&["WARN", &bootstrap, "cannot be reached", "refused"]).is_empty()
    })
    .await;
    // The waits are 100, 200, 400, 800 and 1,000 ms: each is logged once, no matter how many dials fail.
    until("more dials than lines", || a.mesh.counters().dial_failures.get() >= 7).await;
    let lines = harness::log::lines(&["WARN", &bootstrap, "cannot be reached"]);
    assert!(lines.len() <= 5, "{lines:#?}");
    let boot = node(Mode::Bootstrap, &[], |c| c.port = port).await;
    full_mesh(&[&a, &boot]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_address_that_makes_no_sense_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let bad = ["10.0.0".to_owned()];
    let outcome = node_in(
        dir,
        qres_wire::identity::Identity::ephemeral(),
        Mode::Node,
        &bad,
        |_| {},
    )
    .await;
    let error = outcome.err().expect("10.0.0 is no address").to_string();
    assert!(error.contains("10.0.0"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_listed_as_its_own_bootstrap_leaves_itself_alone() {
    let boot = node(Mode::Bootstrap, &[], |_| {}).await;
    let port: u16 = boot.host_port().rsplit_once(':').unwrap().1.parse().unwrap();
    boot.mesh.stop().await;
    let own = [format!("127.0.0.1:{port}")];
    let boot = node(Mode::Bootstrap, &own, |c| c.port = port).await;
    let a = node(Mode::Node, &own, |_| {}).await;
    full_mesh(&[&a, &boot]).await;
    assert!(boot.mesh.counters().dial_failures.get() <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_bring_a_swarm_together_without_its_bootstrap_node() {
    let boot = node(Mode::Bootstrap, &[], |_| {}).await;
    let a = node(Mode::Node, &[boot.host_port()], |_| {}).await;
    let b = node(Mode::Node, &[boot.host_port()], |_| {}).await;
    full_mesh(&[&a, &b, &boot]).await;
    boot.mesh.stop().await;
    a.mesh.stop().await;
    until("b noticed", || b.mesh.connected().is_empty()).await;
    // b keeps its port. a returns on another port, with only its directory.
    let a = node_in(a.dir, a.identity, Mode::Node, &[], |_| {}).await.unwrap();
    full_mesh(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_lost_is_dialled_again() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let b = node(Mode::Node, &[a.address()], |_| {}).await;
    full_mesh(&[&a, &b]).await;
    let port: u16 = b.host_port().rsplit_once(':').unwrap().1.parse().unwrap();
    b.mesh.stop().await;
    until("gone", || a.heard.lock().unwrap().disconnected == [b.node]).await;
    // b returns with its key and port but knows no peer, so a must find it.
    let dir = tempfile::tempdir().unwrap();
    let b = node_in(dir, b.identity, Mode::Node, &[], |c| c.port = port)
        .await
        .unwrap();
    full_mesh(&[&a, &b]).await;
    until("told", || a.heard.lock().unwrap().connected == [b.node, b.node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connections_between_two_nodes_hurt_neither() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let b = node(Mode::Node, &[a.address()], |_| {}).await;
    full_mesh(&[&a, &b]).await;
    // Without a peer id each dial opens a connection of its own. Each node would have two to the other; the limit keeps two
    // in all.
    for _ in 0..3 {
        // A dial above the limit is refused.
        drop(a.mesh.dial(&b.host_port()).await);
        drop(b.mesh.dial(&a.host_port()).await);
    }
    for n in 0..100_u8 {
        a.mesh.publish(Topic::State, vec![1, n]).await.unwrap();
        b.mesh.publish(Topic::State, vec![2, n]).await.unwrap();
    }
    until("all messages, both ways", || {
        a.heard_count() == 100 && b.heard_count() == 100
    })
    .await;
    for (one, other) in [(&a, &b), (&b, &a)] {
        assert_eq!(one.heard.lock().unwrap().connected, [other.node], "told once");
        assert!(one.heard.lock().unwrap().disconnected.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_bootstrap_node_makes_room_and_everyone_is_found() {
    let boot = node(Mode::Bootstrap, &[], |c| c.connections_max = 6).await;
    let mut nodes = Vec::new();
    for _ in 0..10 {
        nodes.push(node(Mode::Node, &[boot.host_port()], |_| {}).await);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    full_mesh(&all).await;
    assert!(boot.mesh.connected().len() <= 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_fails_is_said_and_one_that_works_admits() {
    harness::log::collect();
    let a = node(Mode::Node, &[], |_| {}).await;
    let b = node(Mode::Node, &[], |_| {}).await;
    assert!(matches!(a.mesh.dial("no such host!").await, Err(MeshError::Address(_))));
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let nobody = format!("/ip4/127.0.0.1/tcp/{port}");
    let refused = a.mesh.dial(&nobody).await.unwrap_err().to_string();
    assert!(refused.contains("refused"), "{refused}");
    until("said", || {
        !harness::log::lines(&["WARN", &format!("dial of {nobody} failed"), "refused"]).is_empty()
    })
    .await;
    a.mesh.dial(&b.host_port()).await.unwrap();
    full_mesh(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timings_as_shipped_bring_nodes_together_that_start_at_once() {
    let shipped = |c: &mut MeshConfig| c.timings = Timings::default();
    let boot = node(Mode::Bootstrap, &[], shipped).await;
    let address = [boot.host_port()];
    let nodes = futures::future::join_all((0..5).map(|_| node(Mode::Node, &address, shipped))).await;
    let all: Vec<&Node> = nodes.iter().chain([&boot]).collect();
    full_mesh(&all).await;
}
