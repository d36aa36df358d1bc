//! The mesh of nodes. One actor owns the libp2p swarm; its loop only dispatches events, and each protocol has a file of its
//! own.
//!
//! ```text
//!  engine (crate node)                                       transfer (crate)
//!    │ Mesh::publish, report, dial, ban …   ▲ MeshEvent         │ Mesh::open          ▲ Mesh::accept
//!    ▼ bounded queues                       │ bounded queue     ▼                     │ raw streams
//!  ┌─────────── actor: one task ────────────┴─────────────┐   ┌───────── streams: a behaviour of the swarm ────────┐
//!  │ admission  discovery  gossip  heartbeat  twin  …     │   │ blob and sync protocols, read by their callers     │
//!  └──────────────────────────┬───────────────────────────┘   └─────────────────────────┬──────────────────────────┘
//!                             └──── swarm: TCP and QUIC, encrypted, multiplexed ────────┘
//!                                                   │
//!                                               other nodes
//! ```
//!
//! A connection goes through these steps:
//!
//! ```text
//! dial, or inbound ─► places (is there room?) ─► hello in both directions ─► Connected ─► gossip, streams ─► Disconnected
//!                                                another network, or no common major: goodbye with the reason
//! ```
//!
//! The calls of [`Mesh`], and the events ([`MeshEvent`]) that the engine gets:
//!
//! | call | task |
//! | --- | --- |
//! | [`Mesh::publish`], [`Mesh::report`] | Sends a gossip message; gives the [`Verdict`] on a received one. |
//! | [`Mesh::open`], [`Mesh::accept`] | Opens a raw stream to a connected peer; takes the streams that peers open. |
//! | [`Mesh::penalize`], [`Mesh::ban`], [`Mesh::unban`] | Lowers a peer's score; refuses a peer for a time; ends that. |
//! | [`Mesh::dial`], [`Mesh::peers`], [`Mesh::stop`] | Dials an address; lists the known peers; says goodbye and ends. |
//! | [`Mesh::set_members`] | Names the members of the joined models, for whom places and budgets are kept. |
//! | [`Mesh::connected`], [`Mesh::rtt`], [`Mesh::twin`] | Read the state that the actor published, without a message to it. |
//!
//! | event | cause |
//! | --- | --- |
//! | `Message` | A gossip message waits for a verdict. |
//! | `Connected`, `Disconnected` | A peer was admitted; it is no longer. |
//! | `Heads` | A heartbeat named the heads of its author. |
//! | `Peer` | An entry of the peer list changed. |
//!
//! ```text
//! let (mesh, mut events) = start(MeshConfig::new(Mode::Node, hints), &identity, heads).await?;
//! while let Some(event) = events.recv().await {
//!     if let MeshEvent::Message(message) = event {
//!         let verdict = judge(&message);                 // only Accept lets the mesh forward the message
//!         mesh.report(message.token, verdict).await;
//!     }
//! }
//! ```
//!
//! Invariants:
//!
//! - The actor never waits for the engine. Gossip that finds the event queue full is ignored and counted; all other events wait
//!   in an outbox, which has at most one entry of each kind for a node.
//! - Before a peer's hello, its gossip is not judged and its streams are not handed out.
//! - The mesh does not decode records. It judges heartbeats itself, and the size, author and budget of every message; for all
//!   else the engine's verdict decides if a message is forwarded.
//! - Every queue, table and budget has a limit, because identities are free.

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
mod gossip_observer;
mod handshakes;
mod head_start;
#[doc(hidden)]
pub mod heartbeat;
#[doc(hidden)]
pub mod hello;
mod identify;
mod incoming;
mod listen;
mod operator_dials;
mod outbox;
mod peer_table;
mod peer_view;
mod places;
mod probe;
#[doc(hidden)]
pub mod saved_peers;
mod score;
mod seeds;
mod sighting;
mod snapshot;
mod source;
mod streams;
mod twin;
mod watchdog;
mod yamux;

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

/// The head of one model, as a node's heartbeat states it.
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
    /// Topic `qres/v1/epiphany`: contributions, seals, proofs and model announcements.
    Epiphany,
    /// Topic `qres/v1/state`: state envelopes.
    State,
}

/// The name of a received message, which the engine gives back with its [`Verdict`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageToken {
    pub(crate) id: libp2p::gossipsub::MessageId,
    pub(crate) from: libp2p::PeerId,
}

/// The engine's decision on a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forwards the message.
    Accept,
    /// Does not forward the message; no peer is at fault.
    Ignore,
    /// Does not forward the message; it is invalid, no matter what the receiver knows.
    Reject,
}

/// A message to judge. gossipsub forwards it only once [`Mesh::report`] says [`Verdict::Accept`].
#[derive(Debug, Clone)]
pub struct GossipMessage {
    /// The [`Topic`] that the message came on.
    pub topic: Topic,
    /// The author of the message; gossipsub has verified its signature.
    pub source: NodeId,
    /// The peer whose connection brought the message.
    pub carrier: NodeId,
    /// The token to call [`Mesh::report`] with.
    pub token: MessageToken,
    /// The payload, at most [`ENVELOPE_BYTES_MAX`] bytes.
    pub data: Vec<u8>,
}

/// Kinds of misbehaviour, worst last. Each fault lowers the peer's score; a low score disconnects the peer, a lower one bans
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer did not deliver what it announced.
    Withheld,
    /// The peer broke a protocol's limits.
    Protocol,
    /// The peer delivered bytes that do not match their digest, or signed something that no honest node signs.
    Forged,
}

/// Events that the mesh sends to the engine. The channel is bounded: gossip that finds it full is ignored and counted;
/// connects, disconnects, heads and peer views wait in the outbox.
#[derive(Debug)]
pub enum MeshEvent {
    /// A [`GossipMessage`] that the engine must judge.
    Message(GossipMessage),
    /// A peer passed the hello and is connected.
    Connected(NodeId),
    /// The peer is no longer admitted: its last connection closed, or one side said goodbye.
    Disconnected(NodeId),
    /// The heads that a heartbeat of this author names, one [`HeadClaim`] each.
    Heads(NodeId, Vec<HeadClaim>),
    /// The [`PeerView`] of a peer, because something that a peer list shows has changed.
    Peer(PeerView),
}

/// Checks that this node can dial an address, as far as that shows without a DNS query or a connection.
pub fn check_address(text: &str) -> Result<(), MeshError> {
    address::parse(text).map(|_| ())
}

/// Reasons why a call to the mesh failed.
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

/// The largest message that may be published, in bytes: gossip carries envelopes, never models.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// A handle to the mesh for the rest of the node. It is cheap to clone; the mesh stops when the last clone is dropped.
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

    /// Publishes a message. If no peer can take it yet, the message is kept (for 60 s by default, at most 256 messages) and
    /// sent when a peer of the topic appears. Publishing the very same bytes again within two minutes does nothing: gossipsub
    /// takes them for a duplicate.
    pub async fn publish(&self, topic: Topic, data: Vec<u8>) -> Result<(), MeshError> {
        if data.len() > ENVELOPE_BYTES_MAX {
            return Err(MeshError::TooLarge {
                bytes: data.len(),
                limit: ENVELOPE_BYTES_MAX,
            });
        }
        self.ask(|reply| Command::Publish { topic, data, reply }).await
    }

    /// Gives the [`Verdict`] on a received message. gossipsub remembers a message for about six seconds; a later verdict
    /// changes nothing.
    pub async fn report(&self, token: MessageToken, verdict: Verdict) {
        // Sending fails only when the mesh has stopped, and then no message is left to forward.
        drop(self.commands.send(Command::Report { token, verdict }).await);
    }

    /// Reports a [`Fault`] of a peer. The call never waits: if the actor's queue is full, the fault is dropped and counted.
    pub fn penalize(&self, node: NodeId, fault: Fault, why: String) {
        if self.faults.try_send(FaultReport { node, fault, why }).is_err() {
            self.counters.faults_dropped.add();
        }
    }

    /// Dials an address: IP, host, host:port or multiaddr. Returns the node that answers there as soon as a connection to it
    /// is open or being opened. The peer list shows later whether the peer was admitted.
    pub async fn dial(&self, address: &str) -> Result<NodeId, MeshError> {
        let address = address.to_owned();
        self.ask(|reply| Command::Dial { address, reply }).await
    }

    /// Bans a peer for the duration `for_`: the peer is told the reason and disconnected, and may not connect again before
    /// the ban ends. Bans survive a restart.
    pub async fn ban(&self, node: NodeId, reason: String, for_: Duration) -> Result<(), MeshError> {
        self.ask(|reply| Command::Ban {
            node,
            reason,
            for_,
            reply,
        })
        .await
    }

    /// Lifts the ban on a peer and clears its score of [`Fault`]s.
    pub async fn unban(&self, node: NodeId) -> Result<(), MeshError> {
        self.ask(|reply| Command::Unban { node, reply }).await
    }

    /// Returns a [`PeerView`] of every peer that this node knows.
    pub async fn peers(&self) -> Result<Vec<PeerView>, MeshError> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// Returns the nodes that are connected and admitted. The answer comes from a snapshot, without a round trip to the
    /// actor.
    pub fn connected(&self) -> Vec<NodeId> {
        self.snapshot.borrow().connected.keys().copied().collect()
    }

    /// Returns the measured round-trip time to a connected peer.
    pub fn rtt(&self, node: &NodeId) -> Option<Duration> {
        self.snapshot.borrow().connected.get(node).copied().flatten()
    }

    /// Returns this node's mesh addresses as others can dial them (with `/p2p/<peer id>` at the end), TCP first.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.snapshot.borrow().listen.clone()
    }

    /// Sets the nodes on the member lists of the joined models. This node vouches for them, even for those that it never met.
    pub fn set_members(&self, members: BTreeSet<NodeId>) {
        self.members.send_if_modified(|old| {
            let new = **old != members;
            if new {
                *old = Arc::new(members);
            }
            new
        });
    }

    /// Returns true if a node is on the member list of a joined model.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.members.borrow().contains(node)
    }

    /// Watches for a [`Twin`], another process with this node's identity. While there is one, this node may sign nothing.
    pub fn twin(&self) -> watch::Receiver<Option<Twin>> {
        self.twin.clone()
    }

    /// Returns the [`MeshCounters`] of this mesh.
    pub fn counters(&self) -> &MeshCounters {
        &self.counters
    }

    /// Opens a stream to a connected peer, within the deadline [`Timings::open`] (default 5 s). Never dials: if the
    /// peer is not admitted, the call fails with [`MeshError::NotConnected`].
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

    /// Accepts a protocol and returns the streams of it that admitted peers open. Call once per protocol: a second call takes
    /// the protocol over from the first.
    pub fn accept(&self, protocol: StreamProtocol) -> IncomingStreams {
        let streams = self.streams.accept(protocol);
        IncomingStreams::new(
            streams,
            self.snapshot.clone(),
            self.counters.clone(),
            self.open_deadline,
        )
    }

    /// Says goodbye to all peers, closes the connections and returns when the actor has ended.
    pub async fn stop(&self) {
        // Sending fails only when the mesh has stopped already.
        drop(self.commands.send(Command::Stop).await);
        self.commands.closed().await;
    }
}
