//! Raw streams between admitted peers.

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::StreamProtocol;
use qres_node::mesh::MeshError;

use crate::harness::{node, pair};

const ECHO: StreamProtocol = StreamProtocol::new("/test/echo/1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_carries_bytes_both_ways_and_names_who_opened_it() {
    let (a, b) = pair(|_| {}).await;
    let mut incoming = b.mesh.accept(ECHO);
    let mut stream = a.mesh.open(b.node, ECHO).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    stream.close().await.unwrap();
    let (from, mut theirs) = incoming.next().await.unwrap();
    assert_eq!(from, a.node);
    let mut bytes = Vec::new();
    theirs.read_to_end(&mut bytes).await.unwrap();
    theirs.write_all(&bytes).await.unwrap();
    theirs.close().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"ping");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_to_someone_who_is_not_connected_fails_at_once() {
    let a = node(qres_node::mesh::Mode::Node, &[], |_| {}).await;
    let stranger = qres_node::identity::Identity::ephemeral().node();
    let error = a.mesh.open(stranger, ECHO).await.err().unwrap();
    assert!(
        matches!(error, MeshError::NotConnected(node) if node == stranger),
        "{error}"
    );
}
