//! Peers that hold the upload places of a node: they send requests, but take no bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use qres_api::pb;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_node::identity::Identity;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Options, wait};

use super::node_id;
use super::peer::Peer;
use crate::vector_model;

/// Number of streams of one [`Peer`]: as many as the places that it may hold.
const STREAMS: usize = 4;
/// Number of peers that fill the 16 upload places of a node.
const PEERS: usize = 4;
/// Number of the 16 places that strangers may hold.
const HELD: usize = 12;
/// Pause between two requests: less than the 10 seconds after which a place without a request is free again.
const NOW_AND_THEN: Duration = Duration::from_secs(6);
/// Number of f32 values of the model: its file has more than one segment (1 MiB).
const VALUES: usize = 300_000;

/// Holds places of this node for as long as the test lasts, on [`STREAMS`] streams. `held` counts the requests that were served.
fn hold(peer: &Arc<Peer>, node: NodeId, spec: SpecId, blob: BlobId, held: &Arc<AtomicUsize>) {
    for _ in 0..STREAMS {
        let (peer, held) = (peer.clone(), held.clone());
        tokio::spawn(async move {
            loop {
                // This call ends when the node ends the stream, or answers that it is busy.
                let _ = peer
                    .ask_now_and_then(node, spec, blob, NOW_AND_THEN, || {
                        held.fetch_add(1, Ordering::Relaxed);
                    })
                    .await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_ask_for_blobs_and_take_none_keep_no_follower_out() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let answer = node.node().get_node(pb::GetNodeRequest {}).await.expect("answered");
    let id = node_id(&answer.into_inner().node.expect("a node").node_id);
    let values = vec![0.5; VALUES];
    let request = pb::CreateModelRequest {
        open: true,
        min_contributions: Some(1),
        target: Some(1),
        ..vector_model("open", &values)
    };
    // One message holds at most 1 MiB, so the file goes in two.
    let (first, rest) = request.data.split_at(request.data.len() / 2);
    let more = pb::CreateModelRequest {
        data: rest.to_vec().into(),
        ..Default::default()
    };
    let first = pb::CreateModelRequest {
        data: first.to_vec().into(),
        ..request.clone()
    };
    let created = node.models().create_model(tokio_stream::iter([first, more])).await;
    let model = created.expect("created").into_inner().model.expect("a model");
    let spec: SpecId = model.id.parse().expect("a spec id");
    let blob = BlobId::of(&vector(&values));
    let held = Arc::new(AtomicUsize::new(0));
    let mut peers = vec![];
    for _ in 0..PEERS {
        let dial = std::slice::from_ref(&daemon.mesh);
        let peer = Arc::new(Peer::start(Identity::ephemeral(), dial, &[id]).await);
        hold(&peer, id, spec, blob, &held);
        peers.push(peer);
    }
    wait::until("all places to be held", || async {
        (held.load(Ordering::Relaxed) >= HELD).then_some(())
    })
    .await;
    let follower = Daemon::start(Options {
        bootstrap: vec![daemon.mesh.clone()],
        ..Options::default()
    });
    let follower = follower.node();
    follower.join(&format!("open@{}", model.id)).await;
    let fetched = follower.wait_for_round("open", 0).await;
    assert_eq!(read_vector(&fetched.file), values);
}
