//! Limits of callers: their share of the node's resources, and the time for which they may hold it without using it.

use std::num::NonZeroU32;
use std::time::Duration;

/// Most bytes of one message of all other services: the longest, a name with two ids and a page token, has about 2 KiB.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Most calls a second of one caller by default: far more than a trainer makes.
const RATE_DEFAULT: NonZeroU32 = NonZeroU32::new(2_000).expect("not 0");

/// The limits of callers. A connection gets at most a quarter of each kind of place, so no connection alone can keep the
/// others out.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most uploads at the same time (SubmitWeights, CreateModel, PublishState). Worst-case memory is this many times a message
    /// (4 MiB).
    pub uploads: usize,
    /// Most open watches. A watch may be idle for ever, so only this number bounds them.
    pub watches: usize,
    /// Most calls of FetchWeights and GetSubmission, which may wait for hours. The default is the most trainers of a node.
    pub waits: usize,
    /// Most fetches that send weights: each holds a file descriptor and about 4 MiB of chunks. More fetches wait for their turn.
    pub sends: usize,
    /// Most calls of all other methods, which are short.
    pub calls: usize,
    /// Most open calls of health and reflection.
    pub probes: usize,
    /// Places that only a short call gets, and only while the node works on its answer. With them, an operator's call and a
    /// probe are answered even if all other places are taken.
    pub reserved: usize,
    /// Most requests of more than 1 KiB that are not complete yet: each holds up to 64 KiB.
    pub requests: usize,
    /// Most open connections. One more takes the place of the connection that has been without a call for longest. The default
    /// is above the number of places for streams, so that there always is such a connection.
    pub connections: usize,
    /// Most calls a second of one caller; `None` = no limit. Callers without a name of their own share one rate.
    pub calls_per_s: Option<NonZeroU32>,
    /// Time within which a new connection must begin to speak HTTP/2.
    pub handshake: Duration,
    /// Time after which a connection without a call is closed.
    pub connection_idle: Duration,
    /// Time within which a request of one message must be complete. A reflection stream must send a request at least this often.
    pub request: Duration,
    /// Window of the pace of uploads: an upload is ended if the node waits for it for this long and gets less than
    /// [`Limits::upload_bytes`].
    pub upload_window: Duration,
    /// Least bytes of data that an upload must bring in each [`Limits::upload_window`].
    pub upload_bytes: u64,
    /// Time after which the call of a caller that reads nothing of its answer is ended, in addition to the time that the data on
    /// their way would take at [`Limits::read_bytes_per_s`]. After the same time once more the connection is closed.
    pub unread: Duration,
    /// The slowest rate of reading that is waited for, in bytes per second. The default takes a chunk of 1 MiB in half a minute.
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
            calls_per_s: Some(RATE_DEFAULT),
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
