//! Events that the mesh sends to the layer above, and the words in which both speak of gossip and of faults.

use qres_fed::id::{CheckpointId, NodeId, SpecId};

use super::peer_view::PeerView;

/// The head of one model, as a node's heartbeat states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HeadClaim {
    pub spec: SpecId,
    pub checkpoint: CheckpointId,
    pub round: u64,
}

/// The gossip topics whose messages the layer above judges. Heartbeats stay inside the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Topic `qres/v1/epiphany`: contributions, seals, proofs and model announcements.
    Epiphany,
    /// Topic `qres/v1/state`: state envelopes.
    State,
}

/// The name of a received message, which the layer above gives back with its [`Verdict`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageToken {
    pub(crate) id: libp2p::gossipsub::MessageId,
    pub(crate) from: libp2p::PeerId,
}

/// The decision of the layer above on a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Forwards the message.
    Accept,
    /// Does not forward the message; no peer is at fault.
    Ignore,
    /// Does not forward the message; it is invalid, no matter what the receiver knows.
    Reject,
}

/// A message to judge. gossipsub forwards it only once [`Mesh::report`](crate::Mesh::report) says [`Verdict::Accept`].
#[derive(Debug, Clone)]
pub struct GossipMessage {
    /// The [`Topic`] that the message came on.
    pub topic: Topic,
    /// The author of the message; gossipsub has verified its signature.
    pub source: NodeId,
    /// The peer whose connection brought the message.
    pub carrier: NodeId,
    /// The token to call [`Mesh::report`](crate::Mesh::report) with.
    pub token: MessageToken,
    /// The payload, at most [`ENVELOPE_BYTES_MAX`](crate::ENVELOPE_BYTES_MAX) bytes.
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

/// Events that the mesh sends to the layer above. The channel is bounded: gossip that finds it full is ignored and
/// counted; connects, disconnects, heads and peer views wait in the outbox.
#[derive(Debug)]
pub enum MeshEvent {
    /// A [`GossipMessage`] that the layer above must judge.
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
