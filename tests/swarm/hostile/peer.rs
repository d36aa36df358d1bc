//! A hostile peer. It passes the hello like any other peer, and then does as the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Stream, StreamProtocol};
use prost::Message;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Canonical, Contribution, Proof, Seal, Signed, Spec, StateRecord};
use qres_node::identity::Identity;
use qres_node::mesh::{self, HeadClaim, Mesh, MeshConfig, MeshEvent, Mode, Topic, Verdict};
use qres_tests::wait;
use tempfile::TempDir;
use tokio::sync::watch;

use super::wire;

const BLOB: StreamProtocol = StreamProtocol::new("/qres/blob/10");
const SYNC: StreamProtocol = StreamProtocol::new("/qres/sync/10");

/// Way in which the hostile [`Peer`] answers a request for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Answers with the requested blob.
    Right,
    /// Answers with wrong bytes, as many as the blob has.
    Wrong,
    /// Answers that the peer does not have the blob.
    Absent,
    /// Gives no answer and keeps the stream open.
    Silent,
}

type Blobs = Arc<Mutex<BTreeMap<BlobId, Vec<u8>>>>;

/// A hostile peer with an [`Identity`] and a [`Mesh`] of its own.
pub struct Peer {
    pub mesh: Mesh,
    pub identity: Identity,
    blobs: Blobs,
    /// Number of requests for blobs that this peer has received.
    pub asked: Arc<AtomicUsize>,
    /// Ids of the blobs that other nodes have requested.
    asked_for: Arc<Mutex<BTreeSet<BlobId>>>,
    /// Models that this peer offers to the nodes that greet it.
    offers: Arc<Mutex<Vec<wire::SpecAnnouncement>>>,
    /// Number of times that nodes have asked for these models.
    pub greeted: Arc<AtomicUsize>,
    /// Heads that the heartbeat of this peer claims.
    pub heads: watch::Sender<Vec<HeadClaim>>,
    _dir: TempDir,
}

impl Peer {
    /// Starts a peer that dials the addresses in `dial`, and waits until it is connected to all nodes in `until_connected`.
    pub async fn start(identity: Identity, dial: &[String], until_connected: &[NodeId]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = MeshConfig::new(Mode::Node, dir.path().join("hints"));
        config.listen = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        config.port = 0;
        config.bootstrap = dial.to_vec();
        let (heads, claims) = watch::channel(vec![]);
        let (mesh, mut events) = mesh::start(config, &identity, claims).await.expect("a mesh");
        let judge = mesh.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let MeshEvent::Message(message) = event {
                    judge.report(message.token, Verdict::Accept).await;
                }
            }
        });
        wait::until("the hostile peer to be connected", || async {
            let connected = mesh.connected();
            until_connected
                .iter()
                .all(|node| connected.contains(node))
                .then_some(())
        })
        .await;
        Self {
            mesh,
            identity,
            blobs: Blobs::default(),
            asked: Arc::default(),
            asked_for: Arc::default(),
            offers: Arc::default(),
            greeted: Arc::default(),
            heads,
            _dir: dir,
        }
    }

    pub fn node(&self) -> NodeId {
        self.identity.node()
    }

    /// Serves the blobs on the shelf; `how` gives the [`Service`] for each node that asks.
    pub fn serve(&self, how: impl Fn(NodeId) -> Service + Send + Sync + 'static) {
        let mut incoming = self.mesh.accept(BLOB);
        let (blobs, asked, how) = (self.blobs.clone(), self.asked.clone(), Arc::new(how));
        let asked_for = self.asked_for.clone();
        tokio::spawn(async move {
            while let Some((node, stream)) = incoming.next().await {
                let (blobs, asked, how) = (blobs.clone(), asked.clone(), how.clone());
                let asked_for = asked_for.clone();
                let note = move |blob| {
                    asked.fetch_add(1, Ordering::Relaxed);
                    asked_for.lock().expect("no panic").insert(blob);
                };
                // The other side may break off at any moment, so errors are ignored.
                tokio::spawn(async move { drop(answer(stream, &blobs, note, || how(node)).await) });
            }
        });
    }

    /// Answers nodes that ask which models this peer knows. All other requests for records get the answer that it has none.
    pub fn serve_offers(&self) {
        let mut incoming = self.mesh.accept(SYNC);
        let (offers, greeted) = (self.offers.clone(), self.greeted.clone());
        tokio::spawn(async move {
            while let Some((_, stream)) = incoming.next().await {
                let (offers, greeted) = (offers.clone(), greeted.clone());
                // The other side may break off at any moment, so errors are ignored.
                tokio::spawn(async move { drop(answer_sync(stream, &offers, &greeted).await) });
            }
        });
    }

    /// Offers a [`Spec`] of this peer to the nodes that greet it, and puts its bytes on the shelf.
    pub fn offer(&self, signed: &Signed<Spec>) {
        self.put(&signed.record.to_canonical());
        self.offers.lock().expect("no panic").push(self.announcement(signed));
    }

    fn announcement(&self, signed: &Signed<Spec>) -> wire::SpecAnnouncement {
        wire::SpecAnnouncement {
            spec: signed.record.id().0.to_vec(),
            bytes: signed.record.to_canonical().len() as u64,
            name: signed.record.name.to_string(),
            creator: self.node().0.to_vec(),
            signature: signed.signature.0.to_vec(),
        }
    }

    pub fn put(&self, blob: &[u8]) -> BlobId {
        let id = BlobId::of(blob);
        self.blobs.lock().expect("no panic").insert(id, blob.to_vec());
        id
    }

    pub fn was_asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until a node has asked for this blob.
    pub async fn until_asked_for(&self, blob: BlobId) {
        let asked = || self.asked_for.lock().expect("no panic").contains(&blob);
        wait::until("the blob to be asked for", || async { asked().then_some(()) }).await;
    }

    pub async fn gossip(&self, envelope: &wire::Envelope) {
        self.mesh
            .publish(Topic::Epiphany, envelope.encode_to_vec())
            .await
            .expect("published");
    }

    pub async fn announce(&self, signed: &Signed<Contribution>) {
        self.gossip(&epiphany(signed)).await;
    }

    pub async fn announce_seal(&self, signed: &Signed<Seal>) {
        let seal = wire::SealAnnouncement {
            seal: signed.record.to_canonical(),
            signature: signed.signature.0.to_vec(),
        };
        let envelope = wire::Envelope {
            seal: Some(seal),
            ..Default::default()
        };
        self.gossip(&envelope).await;
    }

    pub async fn announce_proof(&self, proof: &Proof) {
        let proof = wire::ProofAnnouncement {
            proof: proof.to_canonical(),
        };
        let envelope = wire::Envelope {
            proof: Some(proof),
            ..Default::default()
        };
        self.gossip(&envelope).await;
    }

    /// Announces a [`Spec`] of this peer, and puts its bytes on the shelf.
    pub async fn announce_spec(&self, signed: &Signed<Spec>) {
        self.put(&signed.record.to_canonical());
        let envelope = wire::Envelope {
            spec: Some(self.announcement(signed)),
            ..Default::default()
        };
        self.gossip(&envelope).await;
    }

    pub async fn announce_state(&self, signed: &Signed<StateRecord>) {
        let envelope = wire::StateEnvelope {
            body: signed.record.to_canonical(),
            signature: signed.signature.0.to_vec(),
            tensors: vec![],
        };
        self.mesh
            .publish(Topic::State, envelope.encode_to_vec())
            .await
            .expect("published");
    }

    /// Asks a node for a small blob. Returns the status, and the bytes if the status is [`wire::OK`].
    pub async fn read_blob(&self, node: NodeId, spec: SpecId, blob: BlobId) -> (i32, Vec<u8>) {
        let mut stream = self.mesh.open(node, BLOB).await.expect("a stream");
        let get = wire::BlobGet {
            spec: spec.0.to_vec(),
            blob: blob.0.to_vec(),
        };
        send(&mut stream, &wire::BlobRequest { get: Some(get) })
            .await
            .expect("asked");
        let answer: wire::BlobAnswer = receive(&mut stream).await.expect("answered");
        let mut bytes = vec![0; usize::try_from(answer.bytes).expect("small")];
        stream.read_exact(&mut bytes).await.expect("the blob follows");
        (answer.status, bytes)
    }

    /// Asks a node for a large blob again and again over one stream, but for none of its segments. Calls `served` each time
    /// that the node begins to serve the blob. Ends with an error when the node ends the stream or refuses the blob.
    pub async fn ask_now_and_then(
        &self,
        node: NodeId,
        spec: SpecId,
        blob: BlobId,
        pause: Duration,
        served: impl Fn(),
    ) -> std::io::Result<()> {
        let opened = self.mesh.open(node, BLOB).await;
        let mut stream = opened.map_err(std::io::Error::other)?;
        loop {
            let get = wire::BlobGet {
                spec: spec.0.to_vec(),
                blob: blob.0.to_vec(),
            };
            send(&mut stream, &wire::BlobRequest { get: Some(get) }).await?;
            let answer: wire::BlobAnswer = receive(&mut stream).await?;
            if answer.status != wire::OK {
                return Err(std::io::Error::other("no place"));
            }
            served();
            // The chaining values of the segments follow: 32 bytes for each segment of 1 MiB.
            let segments = usize::try_from(answer.bytes.div_ceil(1 << 20)).expect("few");
            stream.read_exact(&mut vec![0; 32 * segments]).await?;
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends a request over the sync protocol. Returns the status at the end of the answer, and the number of items.
    pub async fn sync(&self, node: NodeId, request: &wire::SyncRequest) -> (i32, usize) {
        let mut stream = self.mesh.open(node, SYNC).await.expect("a stream");
        send(&mut stream, request).await.expect("asked");
        let mut items = 0;
        loop {
            let item: wire::SyncItem = receive(&mut stream).await.expect("an item");
            match item.end {
                Some(end) => return (end.status, items),
                None => items += 1,
            }
        }
    }
}

pub fn epiphany(signed: &Signed<Contribution>) -> wire::Envelope {
    let epiphany = wire::Epiphany {
        model_type: "hostile".into(),
        weights: vec![],
        fidelity_score: signed.record.fidelity,
        contribution: signed.record.to_canonical(),
        signature: signed.signature.0.to_vec(),
    };
    wire::Envelope {
        epiphany: Some(epiphany),
        ..Default::default()
    }
}

async fn answer(
    mut stream: Stream,
    blobs: &Mutex<BTreeMap<BlobId, Vec<u8>>>,
    note: impl Fn(BlobId),
    how: impl Fn() -> Service,
) -> std::io::Result<()> {
    loop {
        let request: wire::BlobRequest = receive(&mut stream).await?;
        let Some(get) = request.get else { continue };
        let id = BlobId(get.blob.try_into().expect("an honest node asks for 32 bytes"));
        let blob = blobs.lock().expect("no panic").get(&id).cloned();
        note(id);
        let bytes = match (how(), blob) {
            (Service::Silent, _) => std::future::pending().await,
            (Service::Absent, _) | (_, None) => {
                let status = wire::NOT_FOUND;
                send(&mut stream, &wire::BlobAnswer { status, bytes: 0 }).await?;
                continue;
            }
            (Service::Right, Some(blob)) => blob,
            (Service::Wrong, Some(blob)) => vec![0x55; blob.len()],
        };
        let found = wire::BlobAnswer {
            status: wire::OK,
            bytes: bytes.len() as u64,
        };
        send(&mut stream, &found).await?;
        stream.write_all(&bytes).await?;
        stream.flush().await?;
    }
}

async fn answer_sync(
    mut stream: Stream,
    offers: &Mutex<Vec<wire::SpecAnnouncement>>,
    greeted: &AtomicUsize,
) -> std::io::Result<()> {
    loop {
        let request: wire::SyncRequest = receive(&mut stream).await?;
        let mut status = wire::SYNC_NOT_FOUND;
        if request.specs.is_some() {
            let offers = offers.lock().expect("no panic").clone();
            for offer in offers {
                let (spec, end) = (Some(offer), None);
                send(&mut stream, &wire::SyncItem { end, spec }).await?;
            }
            greeted.fetch_add(1, Ordering::Relaxed);
            status = wire::SYNC_OK;
        }
        let (spec, end) = (None, Some(wire::SyncEnd { status }));
        send(&mut stream, &wire::SyncItem { end, spec }).await?;
    }
}

/// Sends a frame: the length of the message as a little-endian u32, then the message.
async fn send(stream: &mut Stream, message: &impl Message) -> std::io::Result<()> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).expect("small");
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn receive<M: Message + Default>(stream: &mut Stream) -> std::io::Result<M> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).await?;
    M::decode(bytes.as_slice()).map_err(std::io::Error::other)
}
