//! The peer book: everyone known, how the connection stands, and who is banned.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use qres_fed::id::NodeId;

use super::HeadClaim;
use super::address::{self, Reach};
use super::backoff::Backoff;
use super::hello::Mismatch;
use super::score::Score;
use crate::peer_view::{PeerState, PeerView};
use qres_wire::identity;

/// Peers remembered; beyond it the disconnected one that was good longest ago goes, those that were met last. Some 1 KiB each.
pub const PEERS_MAX: usize = 1024;

/// Bans remembered; beyond it the one that ends first goes.
pub const BANS_MAX: usize = 256;

/// A peer was met once it was admitted for this long: identities are free, time on one of the connections is not.
pub const MET_AFTER: Duration = Duration::from_mins(1);

/// After this many failed dials a peer's addresses may be replaced by what others say.
const STALE_FAILURES: u32 = 3;

/// One connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its id in the swarm.
    pub id: ConnectionId,
    /// Where the peer is, without its id.
    pub address: Multiaddr,
    /// Whether we dialled: then others can too.
    pub dialled: bool,
    /// Pings that failed in a row.
    pub ping_failures: u32,
}

/// How the connection to a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// None, none under way.
    Idle,
    /// Being dialled.
    Dialing,
    /// Connected, hello on its way.
    Greeting {
        /// Since when.
        since: Instant,
    },
    /// The hello was fine.
    Admitted {
        /// Since when.
        since: Instant,
    },
    /// Goodbye was said; closed at the latest then.
    Parting {
        /// When.
        until: Instant,
    },
}

/// A peer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Who.
    pub id: PeerId,
    /// The same, as the rest of the node names it.
    pub node: NodeId,
    /// Where to dial, best first.
    pub addresses: Vec<Multiaddr>,
    /// As its hello or heartbeat said.
    pub software: String,
    /// Whether its hello says that it trains nothing.
    pub bootstrap: bool,
    /// The connection.
    pub link: Link,
    /// Open connections.
    pub connections: Vec<Connection>,
    /// Why it was last refused; cleared when it is admitted.
    pub refused: Option<String>,
    /// Round-trip time.
    pub rtt: Option<Duration>,
    /// Faults.
    pub score: Score,
    /// Since when connected, Unix ms.
    pub connected_unix_ms: Option<u64>,
    /// When last admitted or connected, Unix ms; 0 = never.
    pub last_good_unix_ms: u64,
    /// As its heartbeat gave them.
    pub heads: Vec<HeadClaim>,
    /// When it was admitted; `None` once it no longer is.
    pub admitted_at: Option<Instant>,
    /// It was admitted for a while: not one of the identities that are made for one connection.
    pub met: bool,
    /// When to dial again.
    pub backoff: Backoff,
    /// Dial it even when enough others are connected.
    pub wanted: bool,
    /// Identify has said that it serves Kademlia.
    pub kad: bool,
    /// When gossipsub's own score of it last counted as a fault.
    pub graylisted: Option<Instant>,
    /// What identify's version check found before the hello was in.
    pub objection: Option<Mismatch>,
}

impl Peer {
    fn new(id: PeerId, node: NodeId, now: Instant) -> Self {
        Self {
            id,
            node,
            addresses: Vec::new(),
            software: String::new(),
            bootstrap: false,
            link: Link::Idle,
            connections: Vec::new(),
            refused: None,
            rtt: None,
            score: Score::new(now),
            connected_unix_ms: None,
            last_good_unix_ms: 0,
            heads: Vec::new(),
            admitted_at: None,
            met: false,
            backoff: Backoff::new(now),
            wanted: false,
            kad: false,
            graylisted: None,
            objection: None,
        }
    }

    /// Whether its hello was fine.
    pub fn is_admitted(&self) -> bool {
        matches!(self.link, Link::Admitted { .. })
    }

    /// From how far it is seen: the nearest of its connections.
    pub fn reach(&self) -> Option<Reach> {
        self.connections.iter().map(|c| address::reach(&c.address)).min()
    }

    fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Why.
    pub reason: String,
    /// Until when, Unix ms.
    pub until_unix_ms: u64,
}

/// Everyone known.
#[derive(Default)]
pub struct Book {
    peers: BTreeMap<PeerId, Peer>,
    bans: BTreeMap<PeerId, Ban>,
}

impl Book {
    /// A known peer.
    pub fn get(&self, id: &PeerId) -> Option<&Peer> {
        self.peers.get(id)
    }

    /// A known peer.
    pub fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id)
    }

    /// A peer, noted now when it was not known; `None` for ids that hold no Ed25519 key: those are no nodes.
    pub fn entry(&mut self, id: PeerId, now: Instant) -> Option<&mut Peer> {
        let node = identity::node_id(&id)?;
        if !self.peers.contains_key(&id) && self.peers.len() >= PEERS_MAX {
            self.forget_one();
        }
        Some(self.peers.entry(id).or_insert_with(|| Peer::new(id, node, now)))
    }

    fn forget_one(&mut self) {
        let idle = self
            .peers
            .values()
            .filter(|p| p.link == Link::Idle && !p.is_connected());
        let oldest = idle
            .min_by_key(|p| (p.met, p.last_good_unix_ms, u32::MAX - p.backoff.failures()))
            .map(|p| p.id);
        if let Some(id) = oldest {
            self.peers.remove(&id);
        }
    }

    /// Forgets a peer that is not connected.
    pub fn remove(&mut self, id: &PeerId) {
        if self.peers.get(id).is_some_and(|p| !p.is_connected()) {
            self.peers.remove(id);
        }
    }

    /// Notes where a peer may be found, as others say: believed when nothing better is known.
    pub fn learn(&mut self, id: PeerId, claimed: &[Multiaddr], seen: Reach, now: Instant) {
        if let Some(peer) = self.entry(id, now)
            && (peer.addresses.is_empty() || (!peer.is_connected() && peer.backoff.failures() >= STALE_FAILURES))
        {
            peer.addresses = address::select(&id, claimed, None, seen);
        }
    }

    /// Everyone, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// Those whose hello was fine.
    pub fn admitted(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|p| p.is_admitted())
    }

    /// How many.
    pub fn admitted_count(&self) -> usize {
        self.admitted().count()
    }

    /// Whether this one is.
    pub fn is_admitted(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(Peer::is_admitted)
    }

    /// Whether it has a connection, admitted or not.
    pub fn is_connected(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(Peer::is_connected)
    }

    /// Bans a peer.
    pub fn ban(&mut self, id: PeerId, ban: Ban) -> Option<PeerId> {
        let mut freed = None;
        if !self.bans.contains_key(&id) && self.bans.len() >= BANS_MAX {
            freed = self.bans.iter().min_by_key(|(_, b)| b.until_unix_ms).map(|(p, _)| *p);
            if let Some(first) = freed {
                self.bans.remove(&first);
            }
        }
        self.bans.insert(id, ban);
        freed
    }

    /// Lifts a ban.
    pub fn unban(&mut self, id: &PeerId) -> bool {
        self.bans.remove(id).is_some()
    }

    /// The ban on a peer.
    pub fn ban_of(&self, id: &PeerId) -> Option<&Ban> {
        self.bans.get(id)
    }

    /// All bans.
    pub fn bans(&self) -> impl Iterator<Item = (&PeerId, &Ban)> {
        self.bans.iter()
    }

    /// Lifts the bans that are over; answers whose.
    pub fn expire_bans(&mut self, unix_ms: u64) -> Vec<PeerId> {
        let over = self.bans.iter().filter(|(_, b)| b.until_unix_ms <= unix_ms);
        let over: Vec<PeerId> = over.map(|(p, _)| *p).collect();
        for id in &over {
            self.bans.remove(id);
        }
        over
    }

    /// A peer as a peer list shows it.
    pub fn view(&self, id: &PeerId, now: Instant) -> Option<PeerView> {
        let peer = self.peers.get(id)?;
        let state = match (self.bans.get(id), peer.link, &peer.refused) {
            (Some(ban), ..) => PeerState::Banned(ban.reason.clone(), ban.until_unix_ms),
            (None, Link::Admitted { .. }, _) => PeerState::Connected,
            (None, _, Some(why)) => PeerState::Refused(why.clone()),
            (None, Link::Dialing | Link::Greeting { .. }, None) => PeerState::Connecting,
            (None, Link::Idle | Link::Parting { .. }, None) => PeerState::Disconnected,
        };
        Some(PeerView {
            node: peer.node,
            peer_id: peer.id.to_string(),
            addresses: peer.addresses.iter().map(ToString::to_string).collect(),
            agent: peer.software.clone(),
            state,
            rtt_ms: peer.rtt.map(|r| r.as_secs_f64() * 1000.0),
            score: peer.score.now(now),
            connected_unix_ms: peer.connected_unix_ms,
            heads: peer.heads.iter().map(|h| (h.spec, h.checkpoint, h.round)).collect(),
            bootstrap: peer.bootstrap,
        })
    }

    /// Everyone, as a peer list shows them.
    pub fn views(&self, now: Instant) -> Vec<PeerView> {
        self.peers.keys().filter_map(|id| self.view(id, now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qres_wire::identity::Identity;

    fn peer() -> PeerId {
        Identity::ephemeral().keypair().public().to_peer_id()
    }

    #[test]
    fn the_book_is_bounded_and_keeps_the_connected_and_the_good() {
        let now = Instant::now();
        let mut book = Book::default();
        let (connected, good) = (peer(), peer());
        book.entry(connected, now).unwrap().link = Link::Admitted { since: now };
        book.entry(good, now).unwrap().last_good_unix_ms = 7;
        for _ in 0..PEERS_MAX + 10 {
            book.entry(peer(), now).unwrap();
        }
        assert_eq!(book.iter().count(), PEERS_MAX);
        assert!(book.get(&connected).is_some() && book.get(&good).is_some());
        assert!(book.entry(PeerId::random(), now).is_none(), "no Ed25519 key in it");
    }

    #[test]
    fn identities_of_a_moment_do_not_push_out_who_was_met() {
        let now = Instant::now();
        let mut book = Book::default();
        let friend = peer();
        let entry = book.entry(friend, now).unwrap();
        (entry.met, entry.last_good_unix_ms) = (true, 1);
        for n in 0..PEERS_MAX as u64 + 10 {
            book.entry(peer(), now).unwrap().last_good_unix_ms = 1_000 + n;
        }
        assert!(book.get(&friend).is_some());
    }

    #[test]
    fn a_view_says_why() {
        let now = Instant::now();
        let mut book = Book::default();
        let id = peer();
        book.entry(id, now).unwrap().refused = Some("version".to_owned());
        let state = |book: &Book| book.view(&id, now).unwrap().state;
        assert_eq!(state(&book), PeerState::Refused("version".to_owned()));
        book.ban(
            id,
            Ban {
                reason: "rude".to_owned(),
                until_unix_ms: 5,
            },
        );
        assert_eq!(state(&book), PeerState::Banned("rude".to_owned(), 5));
        assert!(book.expire_bans(4).is_empty());
        assert_eq!(book.expire_bans(5), [id]);
        let entry = book.get_mut(&id).unwrap();
        entry.refused = None;
        entry.link = Link::Admitted { since: now };
        assert_eq!(state(&book), PeerState::Connected);
    }
}
