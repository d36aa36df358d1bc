//! The mesh: one actor that owns the libp2p swarm. Its loop only dispatches; one file a protocol.

mod actor;
mod address;
mod admission;
mod attempt;
mod backoff;
mod behaviour;
mod command;
mod config;
mod counters;
mod descriptors;
mod dial;
mod discovery;
mod gossip;
mod handshakes;
mod head_start;
#[doc(hidden)]
pub mod heartbeat;
#[doc(hidden)]
pub mod hello;
#[doc(hidden)]
pub mod hints;
mod identify;
mod incoming;
mod listen;
mod muxer;
mod observed;
mod operator_dials;
mod outbox;
mod peer_view;
mod peers;
mod places;
mod probe;
mod score;
mod seeds;
mod sighting;
mod snapshot;
mod source;
mod streams;
mod twin;
mod watchdog;

pub use actor::start;
pub use config::{MeshConfig, Mode, Overrides, Timings};
pub use counters::{Count, MeshCounters};
#[doc(hidden)]
pub use gossip::Degree;
#[doc(hidden)]
pub use handshakes::HandshakeLimits;
pub use hello::{MAJOR as PROTOCOL_MAJOR, PROTOCOL as PROTOCOL_VERSION};
pub use incoming::IncomingStreams;
pub use peer_view::{PeerState, PeerView};
pub use twin::Twin;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::{Stream, StreamProtocol};
use qres_fed::id::{CheckpointId, NodeId, SpecId};
use tokio::sync::{mpsc, oneshot, watch};

use command::{Command, FaultReport};
use snapshot::Snapshot;

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
    /// Over whose connection it came.
    pub carrier: NodeId,
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

/// Whether this can be dialled, as far as it can be seen without asking anybody.
pub fn check_address(text: &str) -> Result<(), MeshError> {
    address::parse(text).map(|_| ())
}

/// Why a mesh call failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MeshError {
    #[error("{0} is not connected")]
    NotConnected(NodeId),
    #[error("{0:?} is no peer id, host, IP address or multiaddr")]
    Address(String),
    #[error("{0}:{1} is an IPv6 address, with or without a port: write [{0}]:{1} or [{0}:{1}]")]
    AddressOrPort(std::net::Ipv6Addr, u16),
    #[error("port {port} is in use ({error}): give this node another with --port")]
    PortInUse { port: u16, error: String },
    #[error("a message of {bytes} bytes is above the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the peer does not answer: {0}")]
    Stream(String),
    #[error("dial failed: {0}")]
    Dial(String),
    #[error("the mesh has stopped")]
    Stopped,
    #[error("the mesh cannot start: {0}")]
    Setup(String),
}

/// The largest message that may be published: gossip carries envelopes, never models.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// The mesh, for the rest of the node. Cheap to clone; it stops when the last clone is gone.
#[derive(Clone)]
pub struct Mesh {
    commands: mpsc::Sender<Command>,
    faults: mpsc::Sender<FaultReport>,
    snapshot: watch::Receiver<Snapshot>,
    members: watch::Sender<Arc<BTreeSet<NodeId>>>,
    twin: watch::Receiver<Option<Twin>>,
    streams: streams::Control,
    counters: Arc<MeshCounters>,
    open_deadline: Duration,
}

impl Mesh {
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, MeshError>>) -> Command,
    ) -> Result<T, MeshError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| MeshError::Stopped)?;
        answer.await.map_err(|_| MeshError::Stopped)?
    }

    /// Publishes; kept (a minute, 256 messages) and sent when a peer of the topic appears if there is none yet. Publishing the
    /// very same bytes again within two minutes does nothing: gossip knows them.
    pub async fn publish(&self, topic: Topic, data: Vec<u8>) -> Result<(), MeshError> {
        if data.len() > ENVELOPE_BYTES_MAX {
            return Err(MeshError::TooLarge {
                bytes: data.len(),
                limit: ENVELOPE_BYTES_MAX,
            });
        }
        self.ask(|reply| Command::Publish { topic, data, reply }).await
    }

    /// Judges a received message. gossipsub remembers it for about six seconds; a later verdict changes nothing.
    pub async fn report(&self, token: MessageToken, verdict: Verdict) {
        // It fails only when the mesh has stopped, and then there is nothing to forward.
        drop(self.commands.send(Command::Report { token, verdict }).await);
    }

    /// A fault of a peer's; never waits.
    pub fn penalize(&self, node: NodeId, fault: Fault, why: String) {
        if self.faults.try_send(FaultReport { node, fault, why }).is_err() {
            self.counters.faults_dropped.add();
        }
    }

    /// Dials an address: IP, host, host:port or multiaddr. Answers once a connection to the peer there stands or is under way, with
    /// its id; whether it is admitted then shows in the peer list.
    pub async fn dial(&self, address: &str) -> Result<NodeId, MeshError> {
        let address = address.to_owned();
        self.ask(|reply| Command::Dial { address, reply }).await
    }

    /// Bans a peer: it is told why, disconnected, and not let in again until then. Bans survive a restart.
    pub async fn ban(&self, node: NodeId, reason: String, for_: Duration) -> Result<(), MeshError> {
        self.ask(|reply| Command::Ban {
            node,
            reason,
            for_,
            reply,
        })
        .await
    }

    /// Lifts a ban, and forgets the peer's faults.
    pub async fn unban(&self, node: NodeId) -> Result<(), MeshError> {
        self.ask(|reply| Command::Unban { node, reply }).await
    }

    /// Everyone known.
    pub async fn peers(&self) -> Result<Vec<PeerView>, MeshError> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// Those connected and admitted: a snapshot without a round trip.
    pub fn connected(&self) -> Vec<NodeId> {
        self.snapshot.borrow().connected.keys().copied().collect()
    }

    /// Measured round-trip time to a connected peer.
    pub fn rtt(&self, node: &NodeId) -> Option<Duration> {
        self.snapshot.borrow().connected.get(node).copied().flatten()
    }

    /// Own mesh addresses, as others can dial them (`/p2p/<peer id>` at the end), TCP first.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.snapshot.borrow().listen.clone()
    }

    /// Says who is on the member lists of joined models: this node vouches for them, whether it has met them or not.
    pub fn set_members(&self, members: BTreeSet<NodeId>) {
        self.members.send_if_modified(|old| {
            let new = **old != members;
            if new {
                *old = Arc::new(members);
            }
            new
        });
    }

    /// Whether a node is on the member list of a joined model.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.members.borrow().contains(node)
    }

    /// Another process with this node's identity, while there is one: until then nothing may be signed.
    pub fn twin(&self) -> watch::Receiver<Option<Twin>> {
        self.twin.clone()
    }

    /// What the mesh has counted.
    pub fn counters(&self) -> &MeshCounters {
        &self.counters
    }

    /// Opens a stream to a connected peer, with a deadline (5 s). Never dials.
    pub async fn open(&self, node: NodeId, protocol: StreamProtocol) -> Result<Stream, MeshError> {
        let admitted = self.snapshot.borrow().connected.contains_key(&node);
        let Some(peer) = qres_wire::identity::peer_id(&node).filter(|_| admitted) else {
            return Err(MeshError::NotConnected(node));
        };
        match self.streams.open(peer, protocol, self.open_deadline).await {
            Ok(stream) => Ok(stream),
            Err(streams::OpenError::Stopped) => Err(MeshError::Stopped),
            Err(error) => Err(MeshError::Stream(error.to_string())),
        }
    }

    /// Streams of a protocol that admitted peers open; once per protocol (a second call takes it over).
    pub fn accept(&self, protocol: StreamProtocol) -> IncomingStreams {
        let streams = self.streams.accept(protocol);
        IncomingStreams::new(
            streams,
            self.snapshot.clone(),
            self.counters.clone(),
            self.open_deadline,
        )
    }

    /// Says goodbye and closes; returns when it is done.
    pub async fn stop(&self) {
        // It fails only when the mesh has stopped already.
        drop(self.commands.send(Command::Stop).await);
        self.commands.closed().await;
    }
}
