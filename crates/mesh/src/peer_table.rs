//! The peer table: every known peer, the state of its connection, and the bans.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::request_response::OutboundRequestId;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use qres_fed::id::NodeId;
use qres_wire::identity;

use super::address::{self, Reach};
use super::backoff::Backoff;
use super::clock_offset::ClockOffset;
use super::event::HeadClaim;
use super::hello::{GoodbyeCode, Mismatch};
use super::peer_view::{PeerState, PeerView};
use super::score::Score;

/// Peers remembered, some 1 KiB each. Beyond it a disconnected peer goes: those never met first, then the one good longest
/// ago.
pub const PEERS_MAX: usize = 1024;

/// Bans remembered. Beyond it the ban that ends first is lifted.
pub const BANS_MAX: usize = 256;

/// Time for which a peer must be admitted to count as met: identities are free, but time on one of the connections is not.
pub const MET_AFTER: Duration = Duration::from_mins(1);

/// After this many failed dials a peer's addresses may be replaced by those that other peers claim.
const STALE_FAILURES: u32 = 3;

/// An open connection to a peer.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection's id in the swarm.
    pub id: ConnectionId,
    /// The peer's address on this connection, without its peer id.
    pub address: Multiaddr,
    /// True if this node dialled: then others can dial that address too.
    pub dialled: bool,
    /// Pings that failed in a row.
    pub ping_failures: u32,
}

/// The state of the link to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// There is no connection, and no dial under way.
    Idle,
    /// The peer is being dialled.
    Dialing,
    /// The peer is connected, and its hello is awaited.
    Greeting {
        /// The time at which the peer connected.
        since: Instant,
    },
    /// The peer's hello was fine.
    Admitted {
        /// The time at which the peer was admitted.
        since: Instant,
    },
    /// The link is ending: one side said goodbye.
    Parting {
        /// The time at which the connection is closed at the latest.
        until: Instant,
        /// The hello with this node's goodbye, if it sent one: its answer ends the connection.
        goodbye: Option<(OutboundRequestId, GoodbyeCode)>,
    },
}

/// A known peer, connected or not.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The peer's libp2p id.
    pub id: PeerId,
    /// The same id, as the rest of the node names it.
    pub node: NodeId,
    /// Addresses to dial, best first.
    pub addresses: Vec<Multiaddr>,
    /// The peer's software, as its hello named it.
    pub software: String,
    /// True if the hello says that the peer is a bootstrap node, which trains nothing.
    pub bootstrap: bool,
    /// The state of the [`Link`] to the peer.
    pub link: Link,
    /// The open [`Connection`]s to the peer.
    pub connections: Vec<Connection>,
    /// The reason of the last refusal; cleared when the peer is admitted.
    pub refused: Option<String>,
    /// The measured round-trip time.
    pub rtt: Option<Duration>,
    /// The [`Score`], which faults lower.
    pub score: Score,
    /// The time at which the peer was admitted, in Unix ms; `None` while it is not admitted.
    pub connected_unix_ms: Option<u64>,
    /// The last time at which the peer was admitted or ceased to be, in Unix ms; 0 means never.
    pub last_good_unix_ms: u64,
    /// The heads that the peer's last heartbeat named, one [`HeadClaim`] each.
    pub heads: Vec<HeadClaim>,
    /// The time at which the peer was admitted; `None` while it is not admitted.
    pub admitted_at: Option<Instant>,
    /// True if the peer was admitted for at least [`MET_AFTER`], so it is not an identity made for one connection.
    pub met: bool,
    /// The [`Backoff`] that says when to dial next.
    pub backoff: Backoff,
    /// True if the peer shall be dialled even when enough others are connected.
    pub wanted: bool,
    /// True if identify has said that the peer serves Kademlia.
    pub kad: bool,
    /// The last time at which gossipsub's own score of the peer counted as a fault.
    pub graylisted: Option<Instant>,
    /// The times that the peer has signed: the [`ClockOffset`] of its clock.
    pub clock: ClockOffset,
    /// The last time at which this node asked the peer to dial back.
    pub reach_asked: Option<Instant>,
    /// The last time at which this node dialled the peer back.
    pub reach_dialled: Option<Instant>,
    /// The [`Mismatch`] that identify's version check found before the hello was in.
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
            clock: ClockOffset::default(),
            reach_asked: None,
            reach_dialled: None,
            objection: None,
        }
    }

    /// Returns true if the peer's hello was fine and it may stay.
    pub fn is_admitted(&self) -> bool {
        matches!(self.link, Link::Admitted { .. })
    }

    /// Returns the distance at which this node sees the peer: the smallest [`Reach`] of its connections.
    pub fn reach(&self) -> Option<Reach> {
        self.connections.iter().map(|c| address::reach(&c.address)).min()
    }

    /// Returns true if the peer came once with a temporary key, as probes do: it was never admitted nor refused, and no address
    /// of it is known. Such an entry is of no use.
    pub fn is_visitor(&self) -> bool {
        let met = self.last_good_unix_ms != 0 || self.refused.is_some();
        !met && self.addresses.is_empty() && self.connections.is_empty()
    }

    fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }
}

/// A ban on a [`Peer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The reason of the ban.
    pub reason: String,
    /// The end of the ban, in Unix ms.
    pub until_unix_ms: u64,
}

/// The table of known peers and bans.
#[derive(Default)]
pub struct PeerTable {
    peers: BTreeMap<PeerId, Peer>,
    bans: BTreeMap<PeerId, Ban>,
}

impl PeerTable {
    /// Returns a known [`Peer`].
    pub fn get(&self, id: &PeerId) -> Option<&Peer> {
        self.peers.get(id)
    }

    /// Returns a known peer, to change it.
    pub fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id)
    }

    /// Returns a peer, and enters it now if it was not known. Returns `None` for an id that holds no Ed25519 key, since that
    /// is no node.
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

    /// Notes addresses of a peer that other peers claim. They replace the known ones only if there are none, or if the peer
    /// is not connected and [`STALE_FAILURES`] dials in a row have failed.
    pub fn learn(&mut self, id: PeerId, claimed: &[Multiaddr], seen: Reach, now: Instant) {
        if let Some(peer) = self.entry(id, now)
            && (peer.addresses.is_empty() || (!peer.is_connected() && peer.backoff.failures() >= STALE_FAILURES))
        {
            peer.addresses = address::select(&id, claimed, None, seen);
        }
    }

    /// Iterates over all known peers, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// Iterates over the admitted peers.
    pub fn admitted(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|p| p.is_admitted())
    }

    /// Returns the number of admitted peers.
    pub fn admitted_count(&self) -> usize {
        self.admitted().count()
    }

    /// Returns true if the peer is admitted.
    pub fn is_admitted(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(Peer::is_admitted)
    }

    /// Returns true if the peer has a connection, admitted or not.
    pub fn is_connected(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(Peer::is_connected)
    }

    /// Bans a peer. Returns the peer whose ban was lifted to make room, if there were [`BANS_MAX`] bans.
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

    /// Lifts the ban on a peer. Returns false if there was none.
    pub fn unban(&mut self, id: &PeerId) -> bool {
        self.bans.remove(id).is_some()
    }

    /// Returns the ban on a peer, if there is one.
    pub fn ban_of(&self, id: &PeerId) -> Option<&Ban> {
        self.bans.get(id)
    }

    /// Iterates over all [`Ban`]s.
    pub fn bans(&self) -> impl Iterator<Item = (&PeerId, &Ban)> {
        self.bans.iter()
    }

    /// Lifts the bans that have ended. Returns the peers that they were on.
    pub fn expire_bans(&mut self, unix_ms: u64) -> Vec<PeerId> {
        let over = self.bans.iter().filter(|(_, b)| b.until_unix_ms <= unix_ms);
        let over: Vec<PeerId> = over.map(|(p, _)| *p).collect();
        for id in &over {
            self.bans.remove(id);
        }
        over
    }

    /// Returns the [`PeerView`] of a peer, as a peer list shows it.
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

    /// Returns the [`PeerView`]s of all known peers.
    pub fn views(&self, now: Instant) -> Vec<PeerView> {
        self.peers.keys().filter_map(|id| self.view(id, now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;
    use qres_wire::identity::Identity;

    use super::*;

    fn peer() -> PeerId {
        Identity::ephemeral().keypair().public().to_peer_id()
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_connected_and_the_good() {
        let now = clock::now();
        let mut table = PeerTable::default();
        let (connected, good) = (peer(), peer());
        table.entry(connected, now).unwrap().link = Link::Admitted { since: now };
        table.entry(good, now).unwrap().last_good_unix_ms = 7;
        for _ in 0..PEERS_MAX + 10 {
            table.entry(peer(), now).unwrap();
        }
        assert_eq!(table.iter().count(), PEERS_MAX);
        assert!(table.get(&connected).is_some() && table.get(&good).is_some());
        assert!(table.entry(PeerId::random(), now).is_none(), "no Ed25519 key in it");
    }

    #[test]
    fn identities_of_a_moment_do_not_push_out_who_was_met() {
        let now = clock::now();
        let mut table = PeerTable::default();
        let friend = peer();
        let entry = table.entry(friend, now).unwrap();
        (entry.met, entry.last_good_unix_ms) = (true, 1);
        for n in 0..PEERS_MAX as u64 + 10 {
            table.entry(peer(), now).unwrap().last_good_unix_ms = 1_000 + n;
        }
        assert!(table.get(&friend).is_some());
    }

    #[test]
    fn a_view_says_why() {
        let now = clock::now();
        let mut table = PeerTable::default();
        let id = peer();
        table.entry(id, now).unwrap().refused = Some("version".to_owned());
        let state = |table: &PeerTable| table.view(&id, now).unwrap().state;
        assert_eq!(state(&table), PeerState::Refused("version".to_owned()));
        table.ban(
            id,
            Ban {
                reason: "rude".to_owned(),
                until_unix_ms: 5,
            },
        );
        assert_eq!(state(&table), PeerState::Banned("rude".to_owned(), 5));
        assert!(table.expire_bans(4).is_empty());
        assert_eq!(table.expire_bans(5), [id]);
        let entry = table.get_mut(&id).unwrap();
        entry.refused = None;
        entry.link = Link::Admitted { since: now };
        assert_eq!(state(&table), PeerState::Connected);
    }
}
