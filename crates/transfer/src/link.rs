//! A stream to one peer: frames and raw bytes, with size limits, and with a deadline on every read and write.
//!
//! An exchange that fails drops its stream without closing it: yamux then resets the stream, and a peer that waits for
//! credit learns of it at once. A stream that is closed before it is dropped leaves such a peer waiting, because yamux
//! 0.14 then sends no reset.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::counters::{StreamKind, TransferCounters};
use super::fault::TransferError;

/// Size of the write buffer, in bytes, at which it is written out: each write becomes a frame of the muxer, so small
/// frames are gathered.
const GATHER_BYTES: usize = 64 * 1024;

/// Deadlines of an exchange with a peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Longest time without a byte; then the peer has stalled ([`TransferError::Stalled`]). It limits a pause, not the
    /// whole transfer: a slow link may take its time.
    pub(crate) idle: Duration,
    /// Longest time for one whole frame or segment; then the peer is too slow ([`TransferError::Slow`]), though bytes
    /// arrive drop by drop. A download of 1 MiB in two minutes, 9 KB/s, still holds its place against all other peers.
    pub(crate) whole: Duration,
    /// Longest time that a stream may rest between two requests.
    pub(crate) rest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(10),
            whole: Duration::from_secs(120),
            rest: Duration::from_secs(60),
        }
    }
}

/// A stream to a peer that carries frames (a 4-byte length, then a message) and raw bytes.
pub(crate) struct Link<S> {
    stream: S,
    pace: Pace,
    out: Vec<u8>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    given_up: CancellationToken,
    tally: Option<(Arc<TransferCounters>, StreamKind)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Link<S> {
    pub(crate) fn new(stream: S, pace: Pace) -> Self {
        Self {
            stream,
            pace,
            out: Vec::new(),
            sent: Arc::default(),
            received: Arc::default(),
            given_up: CancellationToken::new(),
            tally: None,
        }
    }

    /// Counts all bytes of the stream, in both directions, as those of this kind.
    pub(crate) fn tally(mut self, counters: Arc<TransferCounters>, kind: StreamKind) -> Self {
        self.tally = Some((counters, kind));
        self
    }

    /// Adds all bytes that the stream takes from now on to `sent`, after each write.
    pub(crate) fn count_sent_into(&mut self, sent: Arc<AtomicU64>) {
        self.sent = sent;
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Adds all bytes that arrive from now on to `received`, after each read. Once `given_up` is cancelled, a read ends
    /// with [`TransferError::Revoked`].
    pub(crate) fn watch(&mut self, received: Arc<AtomicU64>, given_up: CancellationToken) {
        self.received = received;
        self.given_up = given_up;
    }

    /// Puts a frame into the buffer, which is written once it holds [`GATHER_BYTES`] or is flushed.
    pub(crate) async fn queue<M: Message>(&mut self, message: &M) -> Result<(), TransferError> {
        let length = u32::try_from(message.encoded_len()).map_err(|_| TransferError::TooLarge {
            what: "frame",
            given: message.encoded_len() as u64,
            limit: u64::from(u32::MAX),
        })?;
        self.out.extend_from_slice(&length.to_le_bytes());
        // Encoding into a Vec cannot run out of room, because a Vec grows.
        let _ = message.encode(&mut self.out);
        if self.out.len() >= GATHER_BYTES {
            return self.drain().await;
        }
        Ok(())
    }

    /// Sends a frame at once, after the frames in the buffer.
    pub(crate) async fn send<M: Message>(&mut self, message: &M) -> Result<(), TransferError> {
        self.queue(message).await?;
        self.flush().await
    }

    /// Writes the frames in the buffer and flushes the stream.
    pub(crate) async fn flush(&mut self) -> Result<(), TransferError> {
        self.drain().await?;
        let idle = self.pace.idle;
        timeout(idle, self.stream.flush())
            .await
            .map_err(|_| stalled("an answer's way out", idle))??;
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), TransferError> {
        let mut out = std::mem::take(&mut self.out);
        let written = self.write_all(&out).await;
        out.clear();
        self.out = out;
        written
    }

    /// Writes bytes as they are, after the frames in the buffer; the caller calls [`Link::flush`] afterwards.
    pub(crate) async fn write_raw(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.drain().await?;
        self.write_all(bytes).await
    }

    async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), TransferError> {
        let Pace { idle, whole, .. } = self.pace;
        let end = Instant::now() + whole;
        while !bytes.is_empty() {
            let written = timeout(idle, self.stream.write(bytes))
                .await
                .map_err(|_| stalled("an answer's way out", idle))??;
            if written == 0 {
                return Err(TransferError::Closed("an answer"));
            }
            bytes = bytes.get(written..).unwrap_or_default();
            self.sent.fetch_add(written as u64, Ordering::Relaxed);
            if let Some((counters, kind)) = &self.tally {
                counters.add_stream_sent(*kind, written as u64);
            }
            within(end, "an answer's way out", whole)?;
        }
        Ok(())
    }

    /// Reads the next frame of at most `limit` bytes, and waits at most `wait` for its start; `None` when the peer has
    /// closed the stream between two frames.
    pub(crate) async fn next<M: Message + Default>(
        &mut self,
        limit: usize,
        wait: Duration,
    ) -> Result<Option<M>, TransferError> {
        let mut head = [0; 4];
        let first = self.read(&mut head, wait, "a frame").await?;
        if first == 0 {
            return Ok(None);
        }
        self.read_raw(head.get_mut(first..).unwrap_or_default(), "a frame")
            .await?;
        let length = u32::from_le_bytes(head) as usize;
        if length > limit {
            return Err(TransferError::TooLarge {
                what: "frame",
                given: length as u64,
                limit: limit as u64,
            });
        }
        let mut bytes = vec![0; length];
        self.read_raw(&mut bytes, "a frame").await?;
        M::decode(bytes.as_slice())
            .map(Some)
            .map_err(|error| TransferError::malformed("frame", error.to_string()))
    }

    /// Reads until `into` is full; `what` names the bytes in an error.
    pub(crate) async fn read_raw(&mut self, into: &mut [u8], what: &'static str) -> Result<(), TransferError> {
        let Pace { idle, whole, .. } = self.pace;
        let end = Instant::now() + whole;
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = self.read(rest, idle, what).await?;
            if read == 0 {
                return Err(TransferError::Closed(what));
            }
            filled += read;
            within(end, what, whole)?;
        }
        Ok(())
    }

    async fn read(&mut self, into: &mut [u8], wait: Duration, what: &'static str) -> Result<usize, TransferError> {
        let read = timeout(wait, self.stream.read(into));
        let read = self.given_up.run_until_cancelled(read).await;
        let read = read.ok_or(TransferError::Revoked)?.map_err(|_| stalled(what, wait))??;
        self.received.fetch_add(read as u64, Ordering::Relaxed);
        if let Some((counters, kind)) = &self.tally {
            counters.add_stream_received(*kind, read as u64);
        }
        Ok(read)
    }

    /// Flushes and closes the stream, which tells the peer that nothing more comes.
    pub(crate) async fn close(&mut self) -> Result<(), TransferError> {
        self.flush().await?;
        let idle = self.pace.idle;
        timeout(idle, self.stream.close())
            .await
            .map_err(|_| stalled("a close", idle))??;
        Ok(())
    }
}

fn stalled(what: &'static str, after: Duration) -> TransferError {
    TransferError::Stalled { what, after }
}

fn within(end: Instant, what: &'static str, limit: Duration) -> Result<(), TransferError> {
    if Instant::now() > end {
        return Err(TransferError::Slow { what, limit });
    }
    Ok(())
}
