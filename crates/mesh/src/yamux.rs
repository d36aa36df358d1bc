//! Yamux with its own limits: `libp2p-yamux` leaves no way to set the size of a frame and the width of a window.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{Config, Connection, ConnectionError, Mode, Stream};

/// The protocol name that both sides use, as everywhere in libp2p.
const PROTOCOL: &str = "/yamux/1.0.0";

/// Payload of a frame in bytes: with its header just under Noise's 63 KiB. The default of 16 KiB is there to let streams take
/// turns; a turn of 60 KiB is still short (5 ms at 100 Mbit/s), and a blob needs a quarter of the frames, encryptions and
/// system calls.
const FRAME_BYTES: usize = 60 * 1024;

/// Streams of one connection, no matter which side opened them: gossip, requests under way
/// (`streams::OPEN_PER_CONNECTION_MAX`) and a few for blobs. QUIC has the same limit. Yamux ends a connection on which a peer
/// opens one more.
const STREAMS_MAX: usize = 256;

/// Bytes that a peer can make this node hold, over all streams of a connection: 256 KiB each, which is the least that Yamux
/// knows; its default is 1 GiB. One stream may use what the others do not: at 100 ms round-trip time still 640 MB/s.
const WINDOW_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The upgrade of an encrypted connection to a multiplexed one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Yamux;

/// A connection that carries many streams, the output of the upgrade [`Yamux`].
pub struct Muxer<C> {
    connection: Connection<C>,
    /// New streams of the peer, until the swarm asks for them; the connection goes on meanwhile. Yamux counts each stream
    /// until it is dropped, so there are never more than [`STREAMS_MAX`].
    waiting: VecDeque<Stream>,
    /// The task that asked for a stream while none was waiting.
    asking: Option<Waker>,
}

impl Yamux {
    fn muxer<C: AsyncRead + AsyncWrite + Unpin>(socket: C, mode: Mode) -> Ready<Result<Muxer<C>, Infallible>> {
        let mut config = Config::default();
        config
            .set_max_num_streams(STREAMS_MAX)
            .set_max_connection_receive_window(Some(WINDOW_BYTES_MAX))
            .set_split_send_size(FRAME_BYTES)
            .set_read_after_close(false);
        ready(Ok(Muxer {
            connection: Connection::new(socket, config, mode),
            waiting: VecDeque::new(),
            asking: None,
        }))
    }
}

impl UpgradeInfo for Yamux {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(PROTOCOL)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        Self::muxer(socket, Mode::Server)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Yamux {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        Self::muxer(socket, Mode::Client)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    /// Drives the connection until the peer opens a stream.
    fn next_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        let next = std::task::ready!(self.connection.poll_next_inbound(cx));
        Poll::Ready(next.unwrap_or(Err(ConnectionError::Closed)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.next_stream(cx);
        if next.is_pending() {
            self.asking = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.connection.poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        loop {
            let stream = std::task::ready!(self.next_stream(cx))?;
            self.waiting.push_back(stream);
            if let Some(asking) = self.asking.take() {
                asking.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    /// Streams in the burst: more than one connection negotiates at once (128), fewer than it may have (256).
    const BURST: u8 = 200;

    /// The swarm drives a connection before it takes the streams that came, so a whole burst may be read in one go.
    #[test]
    fn a_burst_that_comes_before_anyone_takes_a_stream_loses_none() {
        futures::executor::block_on(burst());
    }

    async fn burst() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let mut near = Yamux::muxer(near.compat(), Mode::Client).await.unwrap();
        let mut far = Yamux::muxer(far.compat(), Mode::Server).await.unwrap();
        let mut opened = Vec::new();
        for n in 0..BURST {
            let mut stream = poll_fn(|cx| Pin::new(&mut near).poll_outbound(cx)).await.unwrap();
            stream.write_all(&[n]).await.unwrap();
            stream.close().await.unwrap();
            opened.push(stream);
        }
        assert!(poll_fn(|cx| Pin::new(&mut near).poll(cx)).now_or_never().is_none());
        assert!(poll_fn(|cx| Pin::new(&mut far).poll(cx)).now_or_never().is_none());
        assert_eq!(far.waiting.len(), usize::from(BURST));
        for n in 0..BURST {
            let mut stream = poll_fn(|cx| Pin::new(&mut far).poll_inbound(cx)).await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            assert_eq!(bytes, [n]);
        }
    }
}
