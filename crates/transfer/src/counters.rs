//! Counters of the bytes and blobs that moved, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// The purpose of a raw stream between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// The stream carries blobs.
    Blobs,
    /// The stream carries records: a comparison.
    Records,
}

/// The result of one session that fetches a blob from one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchResult {
    /// The blob is here, or the part of it that this session fetched.
    Complete,
    /// The peer has not got the blob, or does not let this node read it.
    Refused,
    /// The peer had no room, and is asked again.
    Busy,
    /// The session broke off, and the blob is fetched on.
    Broken,
    /// The peer sent bytes that are not the blob's.
    Forged,
    /// The store of this node failed.
    Store,
}

impl FetchResult {
    /// All results.
    pub const ALL: [Self; 6] = [
        Self::Complete,
        Self::Refused,
        Self::Busy,
        Self::Broken,
        Self::Forged,
        Self::Store,
    ];

    /// Returns the result as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Broken => "broken",
            Self::Forged => "forged",
            Self::Store => "store",
        }
    }
}

/// Running totals since the node started. Bytes are those of blobs alone, without frames and encryption, if not said otherwise.
#[derive(Debug, Default)]
pub struct TransferCounters {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    refused_bytes: AtomicU64,
    busy: AtomicU64,
    dropped_streams: AtomicU64,
    served: AtomicU64,
    fetches: [AtomicU64; FetchResult::ALL.len()],
    /// Bytes on streams with their frames: of each kind those sent, then those received.
    streams: [[AtomicU64; 2]; 2],
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
    /// Times that this node began to send a blob to a peer.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
    /// Sessions that fetched a blob from a peer and ended with this result.
    pub fn fetches(&self, result: FetchResult) -> u64 {
        self.fetches[result as usize].load(Ordering::Relaxed)
    }
    /// Bytes sent on streams of a kind, frames included.
    pub fn stream_sent(&self, kind: StreamKind) -> u64 {
        self.streams[kind as usize][0].load(Ordering::Relaxed)
    }
    /// Bytes received on streams of a kind, frames included.
    pub fn stream_received(&self, kind: StreamKind) -> u64 {
        self.streams[kind as usize][1].load(Ordering::Relaxed)
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
    pub(crate) fn add_served(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn add_fetch(&self, result: FetchResult) {
        self.fetches[result as usize].fetch_add(1, Ordering::Relaxed);
    }
    pub(crate) fn add_stream_sent(&self, kind: StreamKind, bytes: u64) {
        self.streams[kind as usize][0].fetch_add(bytes, Ordering::Relaxed);
    }
    pub(crate) fn add_stream_received(&self, kind: StreamKind, bytes: u64) {
        self.streams[kind as usize][1].fetch_add(bytes, Ordering::Relaxed);
    }
}
