//! Nodes find each other.

use qres_node::mesh::{MeshError, Mode};
use qres_node::view::PeerState;

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
    let second = node_in(dir, qres_node::identity::Identity::ephemeral(), Mode::Node, &[], |c| {
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
