//! How much of the node its callers may take, and how long they may take it without doing anything.

use std::time::Duration;

/// What callers are limited to. One connection gets at most a quarter of each kind of place, so no connection alone can
/// keep the others out.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Uploads at the same time (SubmitWeights, CreateModel, PublishState). Worst-case memory is this many times a
    /// message (4 MiB).
    pub uploads: usize,
    /// Open watches. A watch may be idle for ever, so their number alone bounds them.
    pub watches: usize,
    /// FetchWeights and GetSubmission: both may wait for hours. As many as a node may have trainers.
    pub waits: usize,
    /// Fetches that send weights: each holds a descriptor and about 4 MiB of chunks. Further ones wait for their turn.
    pub sends: usize,
    /// All other calls: they are short.
    pub calls: usize,
    /// Open streams of health and reflection.
    pub probes: usize,
    /// Places that only a short call gets, and only while the node works on its answer: an operator's call and a probe
    /// are answered whatever else is taken.
    pub reserved: usize,
    /// Requests of more than 1 KiB that are not whole yet: each holds up to 64 KiB.
    pub requests: usize,
    /// Open connections. Another one takes the place of the connection that has been without a call for longest. More
    /// than there are places for streams, so there always is such a one.
    pub connections: usize,
    /// A new connection must say within this that it speaks HTTP/2.
    pub handshake: Duration,
    /// A connection without a call is closed after this.
    pub connection_idle: Duration,
    /// A request that is one message must be here within this. A reflection stream must ask something that often.
    pub request: Duration,
    /// An upload brings `upload_bytes` of data in every such time that the node waits for it, or it is ended.
    pub upload_window: Duration,
    /// See `upload_window`.
    pub upload_bytes: u64,
    /// A caller that reads nothing of its answer for this long, and for as long as the data on their way would take at
    /// `read_bytes_per_s`, has its call ended. After the same time once more its connection is closed.
    pub unread: Duration,
    /// The slowest reading that is waited for: a chunk of 1 MiB in half a minute.
    pub read_bytes_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uploads: 64,
            watches: 512,
            waits: 1024,
            sends: 128,
            calls: 256,
            probes: 64,
            reserved: 32,
            requests: 1024,
            connections: 2048,
            handshake: Duration::from_secs(10),
            connection_idle: Duration::from_secs(600),
            request: Duration::from_secs(30),
            upload_window: Duration::from_secs(60),
            upload_bytes: 64 * 1024,
            unread: Duration::from_secs(30),
            read_bytes_per_s: 32 * 1024,
        }
    }
}
