//! A peer as callers see it.

use qres_fed::id::{CheckpointId, NodeId, SpecId};

/// How a connection to a peer stands.
#[derive(Debug, Clone, PartialEq)]
pub enum PeerState {
    /// Dialled, or the hello is on its way.
    Connecting,
    /// Connected and admitted.
    Connected,
    /// Known, not connected now.
    Disconnected,
    /// Refused: another major version or network. The text says why.
    Refused(String),
    /// Banned: why, and until when (Unix ms).
    Banned(String, u64),
}

/// A peer as this node knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerView {
    /// Who (also shown as a libp2p peer id).
    pub node: NodeId,
    /// The libp2p peer id as text.
    pub peer_id: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its software, e.g. `qres-daemon/0.1.0`.
    pub agent: String,
    /// The connection.
    pub state: PeerState,
    /// Round-trip time, when measured.
    pub rtt_ms: Option<f64>,
    /// Application score: 0 is clean, it falls with faults.
    pub score: f64,
    /// Since when connected, Unix ms.
    pub connected_unix_ms: Option<u64>,
    /// Heads as its heartbeat gave them: spec, checkpoint, round.
    pub heads: Vec<(SpecId, CheckpointId, u64)>,
    /// It only helps others find each other.
    pub bootstrap: bool,
}
