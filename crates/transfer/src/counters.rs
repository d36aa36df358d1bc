//! Counters of the bytes that moved, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals since the node started. Bytes are those of blobs alone, without frames and encryption.
#[derive(Debug, Default)]
pub struct TransferCounters {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    refused_bytes: AtomicU64,
    busy: AtomicU64,
    dropped_streams: AtomicU64,
}

impl TransferCounters {
    /// Blob bytes sent to peers.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
    /// Blob bytes received that match their digest.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }
    /// Blob bytes received that do not match their digest.
    pub fn refused_bytes(&self) -> u64 {
        self.refused_bytes.load(Ordering::Relaxed)
    }
    /// Times that a peer was told to come back later, because there was no upload place for it.
    pub fn busy(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }
    /// Blob streams dropped unread, because the peer, or all peers together, had too many open.
    pub fn dropped_streams(&self) -> u64 {
        self.dropped_streams.load(Ordering::Relaxed)
    }

    pub(crate) fn add_sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    pub(crate) fn add_received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    pub(crate) fn add_refused(&self, bytes: u64) {
        self.refused_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    pub(crate) fn add_busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn add_dropped_stream(&self) {
        self.dropped_streams.fetch_add(1, Ordering::Relaxed);
    }
}
