//! Handshakes under way: inbound connections that are accepted, but not yet encrypted and multiplexed.
//!
//! A client that opens a socket and says nothing holds a place until the handshake's deadline (`Timings::handshake`). If
//! newcomers were refused while all places are taken, anyone with enough silent sockets (some 70) could lock them out. So a
//! newcomer always gets a place. If its host has as many as it may have, that host's oldest handshake is ended. If all places
//! are taken, the oldest handshake of the host with the most is ended. An honest handshake takes a few round trips, and
//! becomes the oldest one only if as many others came meanwhile.
//!
//! TCP and QUIC have separate places: the first packet of QUIC may come from a forged address.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::counters::MeshCounters;
use super::source;

/// Limits on the handshakes that may be under way.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// In all, for TCP and QUIC each. A handshake costs a socket and some KiB.
    pub total: usize,
    /// From one host. A hospital's nodes behind one NAT start together; those that lose their place dial again a second
    /// later.
    pub per_host: usize,
    /// From this machine, over loopback: dozens of daemons on one host are a test setup that has to work.
    pub loopback: usize,
}

/// The default [`HandshakeLimits`].
pub const HANDSHAKES: HandshakeLimits = HandshakeLimits {
    total: 128,
    per_host: 16,
    loopback: 128,
};

struct Handshake {
    host: Option<IpAddr>,
    ended: CancellationToken,
}

/// The handshakes under way, ordered by age.
struct Places {
    limits: HandshakeLimits,
    next: u64,
    taken: BTreeMap<u64, Handshake>,
}

impl Places {
    fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            next: 0,
            taken: BTreeMap::new(),
        }
    }

    fn count(&self, host: Option<IpAddr>) -> usize {
        self.taken.values().filter(|h| h.host == host).count()
    }

    fn oldest(&self, host: Option<IpAddr>) -> Option<u64> {
        let of_host = |(_, h): &(&u64, &Handshake)| h.host == host;
        self.taken.iter().find(of_host).map(|(number, _)| *number)
    }

    /// Returns the handshake whose place a newcomer takes; `None` while there is room.
    fn displaced(&self, host: Option<IpAddr>) -> Option<u64> {
        let of_host = match host {
            Some(ip) if ip.is_loopback() => self.limits.loopback,
            _ => self.limits.per_host,
        };
        if self.count(host) >= of_host {
            return self.oldest(host);
        }
        if self.taken.len() < self.limits.total {
            return None;
        }
        // If several hosts have the most handshakes, the one with the oldest handshake gives up a place.
        let most = self
            .taken
            .iter()
            .max_by_key(|(number, h)| (self.count(h.host), std::cmp::Reverse(**number)));
        most.and_then(|(_, h)| self.oldest(h.host))
    }

    /// Gives a newcomer a place. Returns its number, the token that ends it early, and whether another handshake was ended
    /// for it.
    fn enter(&mut self, host: Option<IpAddr>) -> (u64, CancellationToken, bool) {
        let displaced = self.displaced(host).and_then(|number| self.taken.remove(&number));
        if let Some(handshake) = &displaced {
            handshake.ended.cancel();
        }
        let (number, ended) = (self.next, CancellationToken::new());
        self.next += 1;
        let handshake = Handshake {
            host,
            ended: ended.clone(),
        };
        self.taken.insert(number, handshake);
        (number, ended, displaced.is_some())
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock()
}

/// A taken place of [`Places`], which is freed when it is dropped.
struct Place {
    places: Arc<Mutex<Places>>,
    number: u64,
    ended: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places).taken.remove(&self.number);
    }
}

type Upgrade<O> = Pin<Box<dyn Future<Output = io::Result<O>> + Send>>;

/// A transport whose inbound handshakes are bounded.
pub struct Handshakes<O> {
    inner: Boxed<O>,
    places: Arc<Mutex<Places>>,
    deadline: Duration,
    counters: Arc<MeshCounters>,
}

impl<O> Handshakes<O> {
    /// Bounds the inbound handshakes of the transport `inner`.
    pub fn new(inner: Boxed<O>, limits: HandshakeLimits, deadline: Duration, counters: Arc<MeshCounters>) -> Self {
        Self {
            inner,
            places: Arc::new(Mutex::new(Places::new(limits))),
            deadline,
            counters,
        }
    }
}

impl<O: 'static> Handshakes<O> {
    fn hold(&self, upgrade: Upgrade<O>, from: &Multiaddr) -> Upgrade<O> {
        let (number, ended, displaced) = lock(&self.places).enter(source::ip(from).map(source::host));
        if displaced {
            self.counters.handshakes_displaced.add();
        }
        let place = Place {
            places: self.places.clone(),
            number,
            ended,
        };
        let deadline = self.deadline;
        Box::pin(async move {
            tokio::select! {
                biased;
                done = upgrade => done,
                () = place.ended.cancelled() => Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the handshake was still under way when newer connections needed its place",
                )),
                () = tokio::time::sleep(deadline) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the handshake was not done within {} ms", deadline.as_millis()),
                )),
            }
        })
    }
}

impl<O: 'static> Transport for Handshakes<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = Upgrade<O>;
    type Dial = <Boxed<O> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Upgrade<O>, io::Error>> {
        let event = std::task::ready!(Pin::new(&mut self.inner).poll(cx));
        Poll::Ready(match event {
            TransportEvent::Incoming {
                listener_id,
                upgrade,
                local_addr,
                send_back_addr,
            } => TransportEvent::Incoming {
                listener_id,
                upgrade: self.hold(upgrade, &send_back_addr),
                local_addr,
                send_back_addr,
            },
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HandshakeLimits = HandshakeLimits {
        total: 6,
        per_host: 3,
        loopback: 5,
    };

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn hosts(places: &Places) -> Vec<String> {
        let text = |h: &Handshake| h.host.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
        places.taken.values().map(text).collect()
    }

    #[test]
    fn a_host_has_so_many_places_and_its_oldest_handshake_makes_room() {
        let mut places = Places::new(LIMITS);
        let (a, local) = (ip("192.0.2.1"), ip("127.0.0.1"));
        let (_, first, displaced) = places.enter(a);
        assert!(!displaced && !places.enter(a).2 && !places.enter(a).2, "three fit");
        assert!(!first.is_cancelled());
        let (_, _, displaced) = places.enter(a);
        assert!(displaced && first.is_cancelled(), "the fourth takes the first one's");
        assert_eq!(places.count(a), 3);
        let mut places = Places::new(LIMITS);
        assert!((0..5).all(|_| !places.enter(local).2), "this machine has more");
        assert!(places.enter(local).2);
        assert_eq!(places.count(local), 5);
    }

    #[test]
    fn when_all_places_are_taken_the_host_with_most_gives_one_up() {
        let mut places = Places::new(LIMITS);
        for host in [
            "192.0.2.9",
            "192.0.2.1",
            "192.0.2.2",
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.2",
        ] {
            assert!(!places.enter(ip(host)).2);
        }
        assert!(places.enter(ip("192.0.2.3")).2);
        assert_eq!(
            hosts(&places),
            [
                "192.0.2.9",
                "192.0.2.2",
                "192.0.2.1",
                "192.0.2.1",
                "192.0.2.2",
                "192.0.2.3"
            ]
        );
        // Two hosts have two handshakes each: the older handshake ends.
        assert!(places.enter(None).2);
        assert_eq!(
            hosts(&places),
            ["192.0.2.9", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "?"]
        );
    }

    #[test]
    fn a_place_is_free_again_when_its_handshake_ends() {
        let places = Arc::new(Mutex::new(Places::new(LIMITS)));
        let (number, ended, _) = lock(&places).enter(None);
        let place = Place {
            places: places.clone(),
            number,
            ended,
        };
        assert_eq!(lock(&places).taken.len(), 1);
        drop(place);
        assert_eq!(lock(&places).taken.len(), 0);
    }
}
