//! The mesh: one actor that owns the libp2p swarm. Its loop only dispatches; one file a protocol.

mod actor;
mod config;

pub use actor::start;
pub use config::{MeshConfig, Mode};

use std::time::Duration;

use libp2p::{Stream, StreamProtocol};
use qres_fed::id::{CheckpointId, NodeId, SpecId};
use tokio::sync::{mpsc, watch};

use crate::view::PeerView;

/// What a heartbeat says of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeadClaim {
    pub spec: SpecId,
    pub checkpoint: CheckpointId,
    pub round: u64,
}

/// The gossip topics whose messages the engine judges. Heartbeats stay inside the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `qres/v1/epiphany`.
    Epiphany,
    /// `qres/v1/state`.
    State,
}

/// Names a received message when it is judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageToken {
    pub(crate) id: libp2p::gossipsub::MessageId,
    pub(crate) from: libp2p::PeerId,
}

/// What becomes of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Accept,
    /// Do not forward it; nobody is at fault.
    Ignore,
    /// Do not forward it; it is bad whatever the receiver knows.
    Reject,
}

/// A message to judge; it is forwarded only once `Mesh::report` says Accept.
#[derive(Debug, Clone)]
pub struct GossipMessage {
    /// Where.
    pub topic: Topic,
    /// Who published it (gossipsub verified the signature).
    pub source: NodeId,
    /// To report with.
    pub token: MessageToken,
    /// The payload.
    pub data: Vec<u8>,
}

/// Misbehaviour, worst last; each lowers the peer's score, then disconnects, then bans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Did not deliver what it announced.
    Withheld,
    /// Broke a protocol's limits.
    Protocol,
    /// Delivered bytes that do not match their digest, or signed what no honest node signs.
    Forged,
}

/// What the mesh tells the engine. The channel is bounded: gossip that finds it full is ignored (counted), peers' comings
/// and goings wait.
#[derive(Debug)]
pub enum MeshEvent {
    /// Judge this.
    Message(GossipMessage),
    /// A peer passed the hello and is connected.
    Connected(NodeId),
    /// Its last connection closed.
    Disconnected(NodeId),
    /// Its heartbeat names these heads.
    Heads(NodeId, Vec<HeadClaim>),
    /// Something that a peer list shows has changed.
    Peer(PeerView),
}

/// Why a mesh call failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MeshError {
    #[error("{0} is not connected")]
    NotConnected(NodeId),
    #[error("{0:?} is no peer id, host, IP address or multiaddr")]
    Address(String),
    #[error("port {port} is in use ({error}): give this node another with --port")]
    PortInUse { port: u16, error: String },
    #[error("a message of {bytes} bytes is above the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the peer does not answer: {0}")]
    Stream(String),
    #[error("the mesh has stopped")]
    Stopped,
}

/// The swarm protocol's version: peers of another major are refused.
pub const PROTOCOL_VERSION: &str = "10.0";

/// The largest message that may be published: gossip carries envelopes, never models.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// Streams that a peer opens to us, of one protocol.
pub struct IncomingStreams {
    pub(crate) streams: libp2p_stream::IncomingStreams,
}

impl IncomingStreams {
    /// The next one, and who opened it.
    pub async fn next(&mut self) -> Option<(NodeId, Stream)> {
        loop {
            let (peer, stream) = futures::StreamExt::next(&mut self.streams).await?;
            if let Some(node) = crate::identity::node_id(&peer) {
                return Some((node, stream));
            }
        }
    }
}

/// The mesh, for the rest of the node. Cheap to clone.
#[derive(Clone)]
pub struct Mesh {}

#[allow(unused_variables, missing_docs, clippy::unused_async)]
impl Mesh {
    /// Publishes; kept and sent again when the first peer of the topic appears if there is none yet.
    pub async fn publish(&self, topic: Topic, data: Vec<u8>) -> Result<(), MeshError> {
        todo!()
    }
    pub async fn report(&self, token: MessageToken, verdict: Verdict) {
        todo!()
    }
    /// A fault of a peer's; never waits.
    pub fn penalize(&self, node: NodeId, fault: Fault, why: String) {
        todo!()
    }
    /// A multiaddr, `host[:port]` or IP; answers once the dial is under way (its outcome shows in the peer list).
    pub async fn dial(&self, address: &str) -> Result<(), MeshError> {
        todo!()
    }
    pub async fn ban(&self, node: NodeId, reason: String, for_: Duration) -> Result<(), MeshError> {
        todo!()
    }
    pub async fn unban(&self, node: NodeId) -> Result<(), MeshError> {
        todo!()
    }
    /// Everyone known.
    pub async fn peers(&self) -> Result<Vec<PeerView>, MeshError> {
        todo!()
    }
    /// Those connected and admitted: a snapshot without a round trip.
    pub fn connected(&self) -> Vec<NodeId> {
        todo!()
    }
    /// Measured round-trip time to a connected peer.
    pub fn rtt(&self, node: &NodeId) -> Option<Duration> {
        todo!()
    }
    /// Own mesh addresses.
    pub fn listen_addresses(&self) -> Vec<String> {
        todo!()
    }
    /// Opens a stream to a connected peer, with a deadline.
    pub async fn open(&self, node: NodeId, protocol: StreamProtocol) -> Result<Stream, MeshError> {
        todo!()
    }
    /// Streams of a protocol that peers open; once per protocol.
    pub fn accept(&self, protocol: StreamProtocol) -> IncomingStreams {
        todo!()
    }
    /// Says goodbye and closes.
    pub async fn stop(&self) {
        todo!()
    }
}

#[allow(unused)]
type HeadsReceiver = watch::Receiver<Vec<HeadClaim>>;
#[allow(unused)]
type Events = mpsc::Receiver<MeshEvent>;
