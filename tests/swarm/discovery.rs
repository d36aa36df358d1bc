//! Nodes that find each other.

use qres_api::pb;
use qres_tests::{Daemon, Options, Swarm, wait};

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_that_know_only_the_bootstrap_node_find_each_other() {
    let swarm = Swarm::start(5).await;
    let ids: Vec<_> = swarm.daemons.iter().map(|d| d.peer_id.clone()).collect();
    for (i, node) in swarm.nodes().iter().enumerate() {
        let request = pb::ListPeersRequest::default();
        let peers = node.peers().list_peers(request).await.unwrap().into_inner().peers;
        let connected: Vec<_> = peers
            .iter()
            .filter(|p| p.state() == pb::PeerState::Connected)
            .map(|p| &p.peer_id)
            .collect();
        for (j, id) in ids.iter().enumerate() {
            assert!(
                i == j || connected.contains(&id),
                "node {i} is not connected to node {j}"
            );
        }
        assert!(connected.contains(&&swarm.bootstrap.peer_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_address_that_is_down_is_tried_until_it_is_up() {
    let bootstrap = Daemon::start(Options {
        bootstrap_mode: true,
        ..Options::default()
    });
    let address = format!("127.0.0.1:{}", bootstrap.mesh_port());
    let stopped = bootstrap.kill();
    let node = Daemon::start(Options {
        bootstrap: vec![address],
        ..Options::default()
    });
    wait::until("the log to say so", || async {
        node.log().contains("bootstrap").then_some(())
    })
    .await;
    let bootstrap = stopped.start();
    node.node().wait_for_peers(1).await;
    drop(bootstrap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_peer_is_disconnected_and_says_why_until_it_is_unbanned() {
    let swarm = Swarm::start(1).await;
    let node = &swarm.nodes()[0];
    let peer = swarm.bootstrap.peer_id.clone();
    let ban = pb::BanPeerRequest {
        peer: peer.clone(),
        reason: "noisy".into(),
        duration_ms: Some(600_000),
    };
    node.peers().ban_peer(ban).await.unwrap();
    let get = || async {
        let request = pb::GetPeerRequest { peer: peer.clone() };
        node.peers().get_peer(request).await.unwrap().into_inner().peer.unwrap()
    };
    let view = get().await;
    assert_eq!(view.state(), pb::PeerState::Banned);
    assert!(view.reason.contains("noisy"), "{view:?}");
    node.peers()
        .unban_peer(pb::UnbanPeerRequest { peer: peer.clone() })
        .await
        .unwrap();
    node.wait_for_peers(1).await;
}
