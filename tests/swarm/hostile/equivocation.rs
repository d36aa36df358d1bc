//! Equivocation: one member signs two contributions on one parent.

use qres_api::pb;
use qres_fed::id::{CheckpointId, SpecId};
use qres_fed::record::Proof;
use qres_node::identity::Identity;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, wait};
use tonic::Code;
use tonic_types::StatusExt;

use super::peer::{Peer, Service};
use super::{DEADLINE_MS, Scene, agreed, bytes_of, contribution, node_id, round};
use crate::rounds::node_ids;
use crate::{head, vector_model};

#[tokio::test(flavor = "multi_thread")]
async fn who_says_two_things_to_all_is_listed_by_nobody_who_knows() {
    let scene = Scene::start(2).await;
    let peer = &scene.peer;
    peer.serve(|_| Service::Right);
    for value in [3.0, 4.0] {
        peer.put(&bytes_of(&[value]));
        peer.announce(&scene.contribution(&[value])).await;
    }
    proven(&scene.swarm.daemons).await;
    let sealed = scene.honest_round().await;
    assert_eq!(sealed.file, vector(&[10.0]));
    // The proof is in the chain. Later contributions of the liar do not count, although there is only one for each parent.
    let base: CheckpointId = sealed.id().parse().unwrap();
    peer.put(&bytes_of(&[50.0]));
    peer.announce(&contribution(
        &peer.identity,
        scene.spec.id(),
        base,
        2,
        &bytes_of(&[50.0]),
    ))
    .await;
    let next = scene.honest_round().await;
    assert_eq!((next.round(), next.file), (2, vector(&[11.0])));
    for number in [1, 2] {
        assert!(!scene.authors(number).await.contains(&peer.node()), "round {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_proof_convicts_nobody() {
    let scene = Scene::start(2).await;
    let peer = &scene.peer;
    let victim = scene.ids[0];
    let forge = |samples| {
        let mut accused = scene.contribution(&[1.0]).record;
        (accused.author, accused.samples) = (victim, samples);
        peer.identity.sign(accused)
    };
    peer.announce_proof(&Proof::new(forge(1), forge(2)).unwrap()).await;
    let sealed = scene.honest_round().await;
    assert!(scene.authors(1).await.contains(&victim));
    assert_eq!(sealed.file, vector(&[10.0]));
    for daemon in &scene.swarm.daemons {
        assert!(!daemon.log().contains("signed two contributions"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_convicted_node_says_so_and_takes_no_work() {
    let scene = Scene::start(2).await;
    let daemon = &scene.swarm.daemons[0];
    // A thief has a copy of the node's key and signs with it.
    let key = Identity::load_or_create(&daemon.data_dir().join("identity.key")).expect("its key");
    assert_eq!(key.node(), scene.ids[0]);
    let signed = |value| contribution(&key, scene.spec.id(), scene.base, 1, &bytes_of(&[value]));
    let proof = Proof::new(signed(3.0), signed(4.0)).unwrap();
    scene.peer.announce_proof(&proof).await;
    let node = &scene.nodes[0];
    let convicted = wait::until("the node to say that it is convicted", || async {
        let model = node.model("hostile").await.expect("a model");
        let mut found = model.conditions.into_iter();
        found.find(|condition| condition.kind() == pb::ConditionKind::Convicted)
    })
    .await;
    assert_eq!(convicted.proof, proof.id().to_string());
    assert!(convicted.text.contains("identity.key"), "{}", convicted.text);
    let refused = node
        .submit("hostile", &scene.base.to_string(), 1, &vector(&[1.0]))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "CONVICTED");
    assert!(refused.message().contains(&convicted.proof), "{}", refused.message());
    assert!(
        daemon
            .log()
            .lines()
            .any(|line| line.contains("ERROR") && line.contains(&convicted.proof))
    );
    // The other node shows no such condition.
    assert_eq!(scene.nodes[1].model("hostile").await.unwrap().conditions, []);
}

/// Waits until each [`Daemon`] has logged the proof.
async fn proven(daemons: &[Daemon]) {
    for daemon in daemons {
        wait::until("the equivocation to be proven", || async {
            daemon
                .log()
                .contains("signed two contributions on one parent")
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tells_two_halves_two_things_is_convicted_when_they_meet() {
    // The daemons do not know each other, and each half has its own copy of the liar.
    let daemons = [(); 2].map(|()| Daemon::start(Options::default()));
    let nodes: Vec<_> = daemons.iter().map(Daemon::node).collect();
    let names = node_ids(&nodes).await;
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    let liar = Identity::load_or_create(&key).unwrap();
    let request = pb::CreateModelRequest {
        members: names.iter().cloned().chain([liar.node().to_string()]).collect(),
        deadline_ms: Some(DEADLINE_MS),
        ..vector_model("hostile", &[0.0])
    };
    let model = nodes[0].create(request).await.unwrap();
    let (spec, base): (SpecId, CheckpointId) = (model.id.parse().unwrap(), head(&model).parse().unwrap());
    // The model spreads, then the link is cut. A ban is the means that an operator has to keep two nodes apart.
    dial(&nodes[1], &daemons[0]).await;
    nodes[1].join("hostile").await;
    nodes[1].wait_for_round("hostile", 0).await;
    nodes[0].peers().ban_peer(ban(&daemons[1])).await.unwrap();
    wait::until("the halves to part", || async {
        let node = nodes[1]
            .node()
            .get_node(pb::GetNodeRequest {})
            .await
            .unwrap()
            .into_inner()
            .node
            .unwrap();
        (node.connected_peers == 0).then_some(())
    })
    .await;

    let mut copies = vec![];
    for (i, value) in [(0, 3.0), (1, 5.0)] {
        let identity = Identity::load_or_create(&key).unwrap();
        let copy = Peer::start(identity, &[daemons[i].mesh.clone()], &[node_id(&names[i])]).await;
        copy.serve(|_| Service::Right);
        copy.put(&bytes_of(&[value]));
        copy.announce(&contribution(&copy.identity, spec, base, 1, &bytes_of(&[value])))
            .await;
        nodes[i]
            .submit("hostile", &base.to_string(), 1, &vector(&[9.0]))
            .await
            .unwrap();
        let sealed = nodes[i].wait_for_round("hostile", 1).await;
        assert_eq!(sealed.file, vector(&[(value + 9.0) / 2.0]));
        copies.push(copy);
    }
    for copy in &copies {
        copy.mesh.stop().await;
    }
    nodes[0]
        .peers()
        .unban_peer(pb::UnbanPeerRequest {
            peer: daemons[1].peer_id.clone(),
        })
        .await
        .unwrap();
    dial(&nodes[0], &daemons[1]).await;
    proven(&daemons).await;

    // Both nodes agree on one head, no matter which. Contributions of the liar do not count once the proof is in the chain.
    let mut now = agreed(&nodes, 1).await;
    for value in [20.0, 30.0] {
        for node in &nodes {
            node.submit("hostile", &now.id(), 1, &vector(&[value])).await.unwrap();
        }
        now = agreed(&nodes, now.round() + 1).await;
        let authors = round(&nodes[0], Some(now.round())).await.contributions;
        assert!(
            authors.iter().all(|c| c.author != liar.node().to_string()),
            "{authors:?}"
        );
    }
}

fn ban(daemon: &Daemon) -> pb::BanPeerRequest {
    pb::BanPeerRequest {
        peer: daemon.peer_id.clone(),
        reason: "cut".into(),
        duration_ms: None,
    }
}

async fn dial(node: &qres_tests::Node, to: &Daemon) {
    let address = to.mesh.clone();
    node.peers().dial_peer(pb::DialPeerRequest { address }).await.unwrap();
    let wanted = |peer: &pb::Peer| peer.peer_id == to.peer_id && peer.state() == pb::PeerState::Connected;
    wait::until("the dialled peer", || async {
        let peers = node
            .peers()
            .list_peers(pb::ListPeersRequest::default())
            .await
            .unwrap()
            .into_inner()
            .peers;
        peers.iter().any(wanted).then_some(())
    })
    .await;
}
