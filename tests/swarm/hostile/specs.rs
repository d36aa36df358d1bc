//! Specs of strangers: a spec that a node has only heard of takes little memory, little disk, and no place of another peer.

use std::sync::atomic::Ordering;

use qres_api::pb;
use qres_fed::id::{BlobId, NodeId};
use qres_fed::record::{Canonical, Dtype, End, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_node::identity::Identity;
use qres_tests::{Daemon, Node, Options, wait};

use super::peer::{Peer, Service};
use super::{node_id, seen, wire};

/// Number of specs of one stranger. Each has 1 MiB; 16 MiB of them are kept (`HEARD_BYTES_PER_CARRIER_MAX`).
const SPECS: usize = 64;
/// Number of tiny tensors of a [`Spec`]. They make 1 MiB of canonical bytes, and 20 MiB once they are decoded.
const TENSORS: usize = 43_000;
/// Number of bytes that a flood of specs may add to the memory of a [`Daemon`]. All specs decoded would take 1.2 GiB.
const GROWTH_BYTES_MAX: u64 = 96 << 20;

fn spec(creator: NodeId, name: &str, tensors: usize) -> Spec {
    let tensor = |n: usize| TensorSpec {
        name: format!("{n:06}"),
        dtype: Dtype::F32,
        shape: vec![1],
    };
    Spec {
        name: name.parse().expect("a name"),
        tensors: (0..tensors).map(tensor).collect(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy {
            target: Some(1),
            ..RoundPolicy::default()
        },
        codec: Rule::new("bf16/1"),
        privacy: Rule::new("none/1"),
        membership: Membership::Open,
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

async fn own_id(node: &Node) -> NodeId {
    let answer = node.node().get_node(pb::GetNodeRequest {}).await.expect("answered");
    node_id(&answer.into_inner().node.expect("a node").node_id)
}

async fn listed(node: &Node) -> Vec<pb::Model> {
    let request = pb::ListModelsRequest {
        page_size: 1000,
        ..Default::default()
    };
    node.models()
        .list_models(request)
        .await
        .expect("a list")
        .into_inner()
        .models
}

/// Waits until the node lists a model of that name.
async fn until_listed(node: &Node, name: &str) {
    wait::until("the model to be listed", || async {
        listed(node).await.iter().any(|model| model.name == name).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_specs_fills_neither_memory_nor_disk_nor_the_next_start() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let id = own_id(&node).await;
    let dial = [daemon.mesh.clone()];
    let honest = Peer::start(Identity::ephemeral(), &dial, &[id]).await;
    honest.serve(|_| Service::Right);
    let sound = spec(honest.node(), "honest", 1);
    honest.announce_spec(&honest.identity.sign(sound)).await;
    until_listed(&node, "honest").await;
    let before = daemon.resident_bytes();
    let stranger = Peer::start(Identity::ephemeral(), &dial, &[id]).await;
    stranger.serve(|_| Service::Right);
    for number in 0..SPECS {
        let name = format!("flood-{number:03}");
        let spec = spec(stranger.node(), &name, TENSORS);
        stranger.announce_spec(&stranger.identity.sign(spec)).await;
        // The specs come one after the other, so that the node looks at each.
        until_listed(&node, &name).await;
    }
    let models = listed(&node).await;
    let floods = models.iter().filter(|model| model.name.starts_with("flood")).count();
    // The limit counts twice, because the other peer forwards what the stranger announces.
    assert!((1..=2 * 16).contains(&floods), "{floods} of the stranger's are kept");
    assert!(models.iter().any(|model| model.name == "honest"), "its own gave way");
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{} MiB more", grown >> 20);
    // The specs that are kept can be shown, one at a time.
    let shown = node.model("flood-063").await.expect("shown");
    assert_eq!(shown.tensor_count as usize, TENSORS);
    assert!(!shown.tensors.is_empty(), "a first part of them comes along");
    let daemon = daemon.kill_and_restart();
    let node = daemon.node();
    assert_eq!(listed(&node).await.len(), models.len());
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{} MiB more after a restart", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_serves_an_unsound_spec_or_signs_wrongly_loses_its_score() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let id = own_id(&node).await;
    let dial = [daemon.mesh.clone()];
    let announcement = |spec: &[u8], creator: NodeId, signature: [u8; 64]| wire::SpecAnnouncement {
        spec: BlobId::of(spec).0.to_vec(),
        bytes: spec.len() as u64,
        name: "bad".into(),
        creator: creator.0.to_vec(),
        signature: signature.to_vec(),
    };
    let stranger = || Peer::start(Identity::ephemeral(), &dial, std::slice::from_ref(&id));
    let [nonsense, forger] = [stranger().await, stranger().await];
    for peer in [&nonsense, &forger] {
        peer.serve(|_| Service::Right);
    }
    let bytes = b"qres/spec/1\nnonsense".to_vec();
    nonsense.put(&bytes);
    let forged = spec(forger.node(), "bad", 1).to_canonical();
    forger.put(&forged);
    for (peer, bytes) in [(&nonsense, &bytes), (&forger, &forged)] {
        let envelope = wire::Envelope {
            spec: Some(announcement(bytes, peer.node(), [7; 64])),
            ..Default::default()
        };
        peer.gossip(&envelope).await;
        seen(&node, &peer.node(), "the score to fall", |peer| peer.score < 0.0).await;
    }
    assert!(listed(&node).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_is_fetched_no_further_than_it_was_announced() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let id = own_id(&node).await;
    let stranger = Peer::start(Identity::ephemeral(), std::slice::from_ref(&daemon.mesh), &[id]).await;
    stranger.serve(|_| Service::Right);
    let large = stranger.identity.sign(spec(stranger.node(), "large", 1000));
    let bytes = large.record.to_canonical();
    let blob = stranger.put(&bytes);
    let envelope = wire::Envelope {
        spec: Some(wire::SpecAnnouncement {
            spec: blob.0.to_vec(),
            // This length is a lie: the node must not take more bytes than this.
            bytes: 100,
            name: "large".into(),
            creator: stranger.node().0.to_vec(),
            signature: large.signature.0.to_vec(),
        }),
        ..Default::default()
    };
    stranger.gossip(&envelope).await;
    stranger.until_asked_for(blob).await;
    // Another spec, announced with its true length, is listed; the first one is not.
    let small = stranger.identity.sign(spec(stranger.node(), "small", 1));
    stranger.announce_spec(&small).await;
    until_listed(&node, "small").await;
    assert_eq!(listed(&node).await.len(), 1);
}

/// Gossip is not reliable: a message can be lost on every link. Nodes ask each other now and then, so no announcement is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_announcement_was_lost_is_listed_all_the_same() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let id = own_id(&node).await;
    let peer = Peer::start(Identity::ephemeral(), std::slice::from_ref(&daemon.mesh), &[id]).await;
    peer.serve(|_| Service::Right);
    peer.serve_offers();
    wait::until("the node to ask for models", || async {
        (peer.greeted.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    peer.offer(&peer.identity.sign(spec(peer.node(), "lost", 1)));
    until_listed(&node, "lost").await;
}
