//! Counters of the mesh.

use std::sync::atomic::{AtomicU64, Ordering};

use super::census::Census;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one to the count.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds `more` to the count.
    pub(crate) fn add_many(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Returns the count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bytes on the streams of one transport, without encryption and the muxer's frames.
#[derive(Debug, Default)]
pub struct LinkBytes {
    /// Bytes sent.
    pub sent: Count,
    /// Bytes received.
    pub received: Count,
}

/// Counts since the start of the mesh. A count of dropped or ignored entries belongs to a queue or a budget with a limit.
#[derive(Debug, Default)]
pub struct MeshCounters {
    /// Messages published, heartbeats included.
    pub published: Count,
    /// Messages that no peer could take when they were published, and that were kept.
    pub publish_kept: Count,
    /// Kept messages that were dropped, because they were too old or too many before a peer came.
    pub publish_expired: Count,
    /// Gossip messages received from admitted peers: first copies, all topics.
    pub received: Count,
    /// Gossip ignored because the queue to the layer above was full.
    pub ignored_queue_full: Count,
    /// Gossip ignored because its author was beyond its budget.
    pub ignored_author_rate: Count,
    /// Gossip ignored because its carrier, or all carriers together, brought more than a budget allows.
    pub ignored_carrier_rate: Count,
    /// Gossip ignored because it came from a peer that had not passed the hello.
    pub ignored_not_admitted: Count,
    /// Gossip that the mesh itself rejected (too large, malformed, or no Ed25519 author).
    pub rejected: Count,
    /// Verdicts that came after gossipsub had forgotten the message.
    pub verdicts_late: Count,
    /// Fault reports dropped because the actor's queue was full.
    pub faults_dropped: Count,
    /// Times that gossipsub dropped messages for a peer that takes them too slowly.
    pub slow_peer: Count,
    /// Links reconnected because gossip on them was silent.
    pub watchdog_reconnects: Count,
    /// Peers admitted after their hello.
    pub admitted: Count,
    /// Refusals: this node refused a peer because of its version, network or faults, or a peer refused or banned this node.
    pub refused: Count,
    /// Bans of peers.
    pub banned: Count,
    /// Dials that failed.
    pub dial_failures: Count,
    /// Inbound connections that failed or were turned away (bans, connection limits).
    pub inbound_failures: Count,
    /// Connections closed before their hello because newer ones needed their places.
    pub newcomers_displaced: Count,
    /// Inbound handshakes ended early because newer connections needed their places.
    pub handshakes_displaced: Count,
    /// Inbound streams dropped because their queue was full or the peer was never admitted.
    pub streams_dropped: Count,
    /// Heartbeats that this node published.
    pub heartbeats_sent: Count,
    /// Heartbeats that this node received and accepted.
    pub heartbeats_received: Count,
    /// Peers told to leave because connections ran out.
    pub pruned: Count,
    /// Bytes over TCP.
    pub tcp: LinkBytes,
    /// Bytes over QUIC.
    pub quic: LinkBytes,
    /// The known peers by state and transport, counted at each tick of the actor.
    pub census: Census,
}
