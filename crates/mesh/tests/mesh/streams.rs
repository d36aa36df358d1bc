//! Raw streams between admitted peers.

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Stream, StreamProtocol};
use qres_mesh::{MeshError, Mode};

use crate::harness::{Node, full_mesh, node, pair};

const ECHO: StreamProtocol = StreamProtocol::new("/test/echo/1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_carries_bytes_both_ways_and_names_who_opened_it() {
    let (a, b) = pair(|_| {}).await;
    let mut incoming = b.mesh.accept(ECHO);
    let mut stream = a.mesh.open(b.node, ECHO).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    stream.close().await.unwrap();
    let (from, theirs) = incoming.next().await.unwrap();
    assert_eq!(from, a.node);
    echo(theirs).await;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"ping");
}

async fn echo(mut stream: Stream) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream.close().await.unwrap();
}

/// Opens a burst of streams, all of them before the first is accepted, and checks that each answers.
async fn burst(a: &Node, b: &Node) {
    let mut incoming = b.mesh.accept(ECHO);
    let opens = (0..100_u8).map(|n| async move {
        let mut stream = a.mesh.open(b.node, ECHO).await?;
        stream.write_all(&[n; 10]).await.unwrap();
        stream.close().await.unwrap();
        Ok::<_, MeshError>((n, stream))
    });
    let opened = futures::future::join_all(opens).await;
    let server = tokio::spawn(async move {
        for _ in 0..100 {
            let (_, stream) = incoming.next().await.unwrap();
            tokio::spawn(echo(stream));
        }
    });
    for outcome in opened {
        let (n, mut stream) = outcome.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, [n; 10]);
    }
    server.await.unwrap();
    assert_eq!(b.mesh.counters().streams_dropped.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_streams_loses_none_over_tcp() {
    let (a, b) = pair(|_| {}).await;
    burst(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_streams_loses_none_over_quic() {
    let b = node(Mode::Node, &[], |_| {}).await;
    let quic = b
        .mesh
        .listen_addresses()
        .into_iter()
        .find(|l| l.contains("quic-v1"))
        .unwrap();
    let a = node(Mode::Node, &[quic], |_| {}).await;
    full_mesh(&[&a, &b]).await;
    burst(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_to_someone_who_is_not_connected_fails_at_once() {
    let a = node(Mode::Node, &[], |_| {}).await;
    let stranger = qres_wire::identity::Identity::ephemeral().node();
    let error = a.mesh.open(stranger, ECHO).await.err().unwrap();
    assert!(
        matches!(error, MeshError::NotConnected(node) if node == stranger),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_a_protocol_that_the_peer_does_not_speak_is_an_error() {
    let (a, b) = pair(|_| {}).await;
    let error = a.mesh.open(b.node, ECHO).await.err().unwrap();
    assert!(
        matches!(&error, MeshError::Stream(why) if why.contains("/test/echo/1")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_when_the_mesh_stops() {
    let (a, b) = pair(|_| {}).await;
    let mut incoming = b.mesh.accept(ECHO);
    b.mesh.stop().await;
    assert!(incoming.next().await.is_none());
    assert!(matches!(
        b.mesh.open(a.node, ECHO).await,
        Err(MeshError::Stopped | MeshError::NotConnected(_))
    ));
}
