//! A peer as callers see it.

use qres_fed::id::{CheckpointId, NodeId, SpecId};

/// The state of the connection to a peer.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerState {
    /// The peer is being dialled, or its hello is awaited.
    Connecting,
    /// The peer is connected and admitted.
    Connected,
    /// The peer is known, but not connected now.
    Disconnected,
    /// The peer was refused, for example because of its major version or its network. The text gives the reason.
    Refused(String),
    /// The peer is banned: the reason, and the end of the ban in Unix ms.
    Banned(String, u64),
}

/// A peer as this node knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerView {
    /// The peer's node id.
    pub node: NodeId,
    /// The same id as a libp2p peer id, in text form.
    pub peer_id: String,
    /// Multiaddrs at which the peer can be dialled, best first.
    pub addresses: Vec<String>,
    /// The peer's software, e.g. `qres-daemon/0.1.0`.
    pub agent: String,
    /// The state of the connection, see [`PeerState`].
    pub state: PeerState,
    /// The round-trip time in milliseconds, once it was measured.
    pub rtt_ms: Option<f64>,
    /// The application score: 0 is clean, and faults lower it.
    pub score: f64,
    /// The time since which the peer is connected, in Unix ms.
    pub connected_unix_ms: Option<u64>,
    /// The heads that its heartbeat named: spec, checkpoint, round.
    pub heads: Vec<(SpecId, CheckpointId, u64)>,
    /// True if the peer is a bootstrap node, which only helps others find each other.
    pub bootstrap: bool,
}
