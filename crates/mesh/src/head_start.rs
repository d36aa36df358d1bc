//! A transport whose dials begin a moment later, so that another transport has a head start.
//!
//! TCP is the faster of the two inside a data centre (one stream over loopback: 146 to 261 MB/s, QUIC 93 to 144 MB/s); QUIC
//! gets through where a firewall or a NAT drops TCP. All addresses of a peer are dialled at the same time and the first
//! connection stays, so QUIC's dials wait. The wait is long enough for TCP's to succeed on a short path, and short enough not
//! to be noticed where TCP does not get through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};

use super::attempt::NEXT_AFTER;

/// The time by which a dial over QUIC begins later than one over TCP, see [`NEXT_AFTER`].
pub const HEAD_START: Duration = NEXT_AFTER;

/// A transport that begins its dials later than asked.
pub struct Later<O> {
    inner: Boxed<O>,
    by: Duration,
}

impl<O> Later<O> {
    /// Makes a [`Later`] that delays the dials of the transport `inner` by the time `by`.
    pub fn new(inner: Boxed<O>, by: Duration) -> Self {
        Self { inner, by }
    }
}

impl<O: 'static> Transport for Later<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<O> as Transport>::ListenerUpgrade;
    type Dial = Pin<Box<dyn Future<Output = io::Result<O>> + Send>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let dial = self.inner.dial(address, options)?;
        let by = self.by;
        Ok(Box::pin(async move {
            // A transport's dial does nothing before it is polled.
            tokio::time::sleep(by).await;
            dial.await
        }))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::Endpoint;
    use libp2p::core::transport::{MemoryTransport, PortUse};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dial_begins_later_and_then_ends_as_any() {
        let mut there = MemoryTransport::new().boxed();
        there
            .listen_on(ListenerId::next(), "/memory/7001".parse().unwrap())
            .unwrap();
        let mut later = Later::new(MemoryTransport::new().boxed(), HEAD_START);
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let begun = tokio::time::Instant::now();
        let dial = later.dial("/memory/7001".parse().unwrap(), options).unwrap();
        let (outcome, _) = futures::future::join(dial, async {
            while !matches!(
                futures::future::poll_fn(|cx| Pin::new(&mut there).poll(cx)).await,
                TransportEvent::Incoming { .. }
            ) {}
        })
        .await;
        assert!(outcome.is_ok());
        assert_eq!(begun.elapsed(), HEAD_START, "the clock stands still but for the wait");
    }
}
