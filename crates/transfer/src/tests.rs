//! Transfers between real meshes on 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use libp2p::StreamProtocol;
use qres_fed::id::{BlobId, NodeId};
use qres_mesh::{Mesh, MeshConfig, MeshEvent, Mode, start};
use qres_store::SEGMENT_BYTES;
use qres_wire::identity::Identity;
use tokio::sync::{mpsc, watch};

use super::memory_network::{MemoryProvider, MockPeer, Readers, SPEC, bytes, tempdir};
use super::sync::tests::{MemoryProvider as Records, ids, thousand};
use super::*;

const DEADLINE: Duration = Duration::from_secs(60);

/// A running mesh.
struct Node {
    mesh: Mesh,
    node: NodeId,
    events: mpsc::Receiver<MeshEvent>,
    _heads: watch::Sender<Vec<qres_mesh::HeadClaim>>,
    _dir: tempfile::TempDir,
}

async fn node(bootstrap: &[&Node]) -> Node {
    let (dir, identity) = (tempdir(), Identity::ephemeral());
    let mut config = MeshConfig::new(Mode::Node, dir.path().join("hints"));
    config.listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    config.port = 0;
    config.bootstrap = bootstrap
        .iter()
        .map(|node| node.mesh.listen_addresses()[0].clone())
        .collect();
    let (heads, receiver) = watch::channel(Vec::new());
    let (mesh, events) = start(config, &identity, receiver).await.unwrap();
    let mut node = Node {
        mesh,
        node: identity.node(),
        events,
        _heads: heads,
        _dir: dir,
    };
    for other in bootstrap {
        node.connected(other.node).await;
    }
    node
}

impl Node {
    /// Waits until this peer is connected.
    async fn connected(&mut self, peer: NodeId) {
        let wait = async {
            while !self.mesh.connected().contains(&peer) {
                self.events.recv().await.expect("the mesh runs");
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("connected in time");
    }
}

fn want(blob: &[u8], holders: &[&Node]) -> DownloadRequest {
    DownloadRequest {
        spec: SPEC,
        blob: BlobId::of(blob),
        bytes: Some(blob.len() as u64),
        bytes_max: 1 << 40,
        holders: holders.iter().map(|holder| holder.node).collect(),
        owed_by: None,
        traceparent: None,
    }
}

async fn here(events: &mut mpsc::Receiver<DownloadEvent>) -> NodeId {
    let next = tokio::time::timeout(DEADLINE, events.recv());
    let DownloadEvent::Here { from, .. } = next.await.expect("in time").expect("the manager runs");
    from
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_go_from_node_to_node() {
    let (large, small) = (bytes(1, 9 * SEGMENT_BYTES + 9), bytes(2, 700));
    let (theirs, ours) = (MemoryProvider::with(&large), MemoryProvider::new());
    theirs.blobs.put(&small, false).unwrap();
    let a = node(&[]).await;
    let server = BlobServer::new(theirs.store.clone(), Arc::new(Readers::All));
    let serving = tokio::spawn(server.clone().run(a.mesh.clone()));
    let b = node(&[&a]).await;
    let (downloads, mut events) = Downloads::start(b.mesh.clone(), ours.store.clone());
    for blob in [&large, &small] {
        downloads.want(want(blob, &[&a]));
        assert_eq!(here(&mut events).await, a.node);
        assert_eq!(&ours.read(&BlobId::of(blob)), blob);
    }
    let total = (large.len() + small.len()) as u64;
    assert_eq!(server.counters().sent_bytes(), total);
    assert_eq!(downloads.counters().received_bytes(), total);
    a.mesh.stop().await;
    tokio::time::timeout(DEADLINE, serving)
        .await
        .expect("serving ends with the mesh")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sends_wrong_bytes_loses_its_good_name() {
    let blob = bytes(1, 4 * SEGMENT_BYTES);
    let (theirs, ours) = (MemoryProvider::with(&blob), MemoryProvider::new());
    let (honest, liar) = (node(&[]).await, node(&[]).await);
    tokio::spawn(serve_blobs(
        honest.mesh.clone(),
        theirs.store.clone(),
        Arc::new(Readers::All),
    ));
    let mut fake = MockPeer::of(&blob);
    fake.corrupt = Some(2);
    let mut incoming = liar.mesh.accept(StreamProtocol::new("/qres/blob/10"));
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            fake.serve(stream).await;
        }
    });
    let me = node(&[&honest, &liar]).await;
    let (downloads, mut events) = Downloads::start(me.mesh.clone(), ours.store.clone());
    downloads.want(want(&blob, &[&liar, &honest]));
    assert_eq!(here(&mut events).await, honest.node);
    assert_eq!(ours.read(&BlobId::of(&blob)), blob);
    let told = async {
        loop {
            let peers = me.mesh.peers().await.unwrap();
            let score = |node| peers.iter().find(|peer| peer.node == node).map(|peer| peer.score);
            if score(liar.node).is_none_or(|score| score < 0.0) {
                return score(honest.node);
            }
        }
    };
    let honest_score = tokio::time::timeout(DEADLINE, told).await.expect("told on in time");
    assert!(honest_score.is_some_and(|score| score >= 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_from_node_to_node() {
    let records = thousand();
    let provider = Arc::new(Records {
        records: records.clone(),
        ..Records::default()
    });
    let a = node(&[]).await;
    tokio::spawn(serve_sync(a.mesh.clone(), provider, Arc::default()));
    let b = node(&[&a]).await;
    let client = SyncClient::new(b.mesh.clone(), Arc::default());
    let (batch, mut batches) = mpsc::channel(4);
    // Every tenth record is missing here.
    let ours = ids(&records)
        .into_iter()
        .enumerate()
        .filter_map(|(n, id)| (n % 10 > 0).then_some(id));
    let collecting = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(batch) = batches.recv().await {
            all.extend(batch);
        }
        all
    });
    let count = client
        .missing(a.node, SPEC, ours.collect::<Vec<_>>().into(), batch)
        .await
        .unwrap();
    assert_eq!(count, 100);
    assert_eq!(collecting.await.unwrap().len(), 100);
    assert!(client.specs(a.node).await.unwrap().is_empty());
    assert!(client.states(a.node, SPEC).await.unwrap().is_empty());
    assert!(client.specs(NodeId([3; 32])).await.is_err(), "not connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_streams_is_served_or_dropped_and_never_blocks() {
    let blob = bytes(1, 100);
    let theirs = MemoryProvider::with(&blob);
    let a = node(&[]).await;
    tokio::spawn(serve_blobs(
        a.mesh.clone(),
        theirs.store.clone(),
        Arc::new(Readers::All),
    ));
    let b = node(&[&a]).await;
    // Streams that never ask for anything take all the room that one peer has.
    let mut idle = Vec::new();
    for _ in 0..32 {
        idle.push(b.mesh.open(a.node, StreamProtocol::new("/qres/blob/10")).await.unwrap());
    }
    drop(idle);
    let ours = MemoryProvider::new();
    let (downloads, mut events) = Downloads::start(b.mesh.clone(), ours.store.clone());
    downloads.want(want(&blob, &[&a]));
    assert_eq!(here(&mut events).await, a.node);
}
