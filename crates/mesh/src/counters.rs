//! What the mesh counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// One count that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts since the start. The ones that name a drop are the other half of a queue's limit.
#[derive(Debug, Default)]
pub struct MeshCounters {
    /// Messages published, heartbeats included.
    pub published: Count,
    /// Messages that found no peer to take them and were kept.
    pub publish_kept: Count,
    /// Kept messages that were too old or too many before a peer came.
    pub publish_expired: Count,
    /// Gossip received, first copies, all topics.
    pub received: Count,
    /// Gossip ignored because the engine's queue was full.
    pub ignored_queue_full: Count,
    /// Gossip ignored because its author sent too much.
    pub ignored_author_rate: Count,
    /// Gossip ignored because its carrier brought too much, or all carriers together did.
    pub ignored_carrier_rate: Count,
    /// Gossip ignored because it came from a peer that had not passed the hello.
    pub ignored_not_admitted: Count,
    /// Gossip rejected by the mesh itself (size, shape, no Ed25519 author).
    pub rejected: Count,
    /// Verdicts that came after gossipsub had forgotten the message.
    pub verdicts_late: Count,
    /// Faults that found the queue full.
    pub faults_dropped: Count,
    /// Times that gossipsub dropped messages for a peer that takes them too slowly.
    pub slow_peer: Count,
    /// Links reconnected because gossip on them was silent.
    pub watchdog_reconnects: Count,
    /// Peers admitted after their hello.
    pub admitted: Count,
    /// Connections refused for version or network.
    pub refused: Count,
    /// Peers banned.
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
    /// Heartbeats published.
    pub heartbeats_sent: Count,
    /// Heartbeats accepted.
    pub heartbeats_received: Count,
    /// Peers asked to leave because connections ran out.
    pub pruned: Count,
}
