//! A transport that counts the bytes on its streams.
//!
//! libp2p-metrics has such a transport, too. Its label is the stack of protocols in the peer's address, and the addresses that
//! Kademlia dials are what strangers say: the number of its series has no limit. Here a transport has two counters.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::core::transport::Boxed;
use libp2p::{PeerId, Transport};

use super::counters::{LinkBytes, MeshCounters};

/// Picks the counters of a transport.
type Pick = fn(&MeshCounters) -> &LinkBytes;

/// Counts the bytes of every stream of a transport, those of all protocols; encryption and the muxer's frames are not in them.
pub fn counted(
    transport: Boxed<(PeerId, StreamMuxerBox)>,
    counters: Arc<MeshCounters>,
    pick: Pick,
) -> Boxed<(PeerId, StreamMuxerBox)> {
    let count = move |(peer, inner): (PeerId, StreamMuxerBox), _| {
        let bytes = Bytes {
            counters: counters.clone(),
            pick,
        };
        (peer, StreamMuxerBox::new(Counted { inner, bytes }))
    };
    transport.map(count).boxed()
}

/// The counters of one transport.
#[derive(Clone)]
struct Bytes {
    counters: Arc<MeshCounters>,
    pick: Pick,
}

impl Bytes {
    fn received(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            (self.pick)(&self.counters).received.add_many(*bytes as u64);
        }
    }

    fn sent(&self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = polled {
            (self.pick)(&self.counters).sent.add_many(*bytes as u64);
        }
    }
}

/// A connection or a stream whose bytes are counted.
struct Counted<T> {
    inner: T,
    bytes: Bytes,
}

impl Counted<StreamMuxerBox> {
    fn count(&self, polled: Poll<io::Result<SubstreamBox>>) -> Poll<io::Result<Counted<SubstreamBox>>> {
        polled.map_ok(|inner| Counted {
            inner,
            bytes: self.bytes.clone(),
        })
    }
}

impl StreamMuxer for Counted<StreamMuxerBox> {
    type Substream = Counted<SubstreamBox>;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let polled = Pin::new(&mut self.inner).poll_inbound(context);
        self.count(polled)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let polled = Pin::new(&mut self.inner).poll_outbound(context);
        self.count(polled)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, into);
        self.bytes.received(&polled);
        polled
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_read_vectored(context, into);
        self.bytes.received(&polled);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, from);
        self.bytes.sent(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, from);
        self.bytes.sent(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}
