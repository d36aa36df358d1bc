//! Peers whose specs contain names that a terminal would obey.

use qres_api::pb;
use qres_fed::id::{BlobId, NodeId};
use qres_fed::record::{Dtype, End, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_node::identity::Identity;
use qres_tests::{Daemon, Options, wait};

use super::node_id;
use super::peer::{Peer, Service};

fn spec(creator: NodeId, name: &str, tensor: &str, strategy: &str) -> Spec {
    Spec {
        name: name.parse().expect("a name"),
        tensors: vec![TensorSpec {
            name: tensor.into(),
            dtype: Dtype::F32,
            shape: vec![1],
        }]
        .into(),
        strategy: Rule::new(strategy),
        aggregation: vec![],
        rounds: RoundPolicy::default(),
        codec: Rule::new("bf16/1"),
        privacy: Rule::new("none/1"),
        membership: Membership::List([creator].into()),
        checkpoint0: BlobId([1; 32]),
        fixed: None,
        creator,
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    }
}

async fn announce(peer: &Peer, spec: Spec) {
    peer.announce_spec(&peer.identity.sign(spec)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_with_a_name_that_a_terminal_would_obey_is_never_listed() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let info = node.node().get_node(pb::GetNodeRequest {}).await.expect("answered");
    let id = node_id(&info.into_inner().node.expect("a node").node_id);
    let dialled = [id];
    let meet = || Peer::start(Identity::ephemeral(), std::slice::from_ref(&daemon.mesh), &dialled);
    // The node refuses a peer after one such spec, so each spec has a peer of its own.
    for (name, tensor, strategy) in [
        ("escape", "w\u{1b}[2J", "fedavg/1"),
        ("line", "w\nmodel  joined", "fedavg/1"),
        ("turned", "w\u{202e}x", "fedavg/1"),
        ("rule", "w", "fedavg/1\u{9b}2J"),
    ] {
        let peer = meet().await;
        peer.serve(|_| Service::Right);
        announce(&peer, spec(peer.node(), name, tensor, strategy)).await;
        wait::until(&format!("the peer of the {name} spec to be refused"), || async {
            let peers = node.peers().list_peers(pb::ListPeersRequest::default()).await;
            let peers = peers.expect("answered").into_inner().peers;
            let refused = |shown: &pb::Peer| shown.reason.contains("its bytes are no sound spec");
            let ours = |shown: &pb::Peer| node_id(&shown.node_id) == peer.node() && refused(shown);
            peers.iter().any(ours).then_some(())
        })
        .await;
    }
    let peer = meet().await;
    peer.serve(|_| Service::Right);
    announce(&peer, spec(peer.node(), "good", "größe.0", "fedavg/1")).await;
    let listed = || async {
        let request = pb::ListModelsRequest::default();
        let page = node.models().list_models(request).await.expect("answered");
        let names = page.into_inner().models.into_iter().map(|model| model.name);
        names.collect::<Vec<_>>()
    };
    wait::until("the good spec to be listed", || async {
        listed().await.contains(&"good".to_owned()).then_some(())
    })
    .await;
    assert_eq!(listed().await, ["good"]);
}
