//! Finding peers: the bootstrap addresses, peers known from before, and Kademlia lookups.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, kad};
use rand::seq::SliceRandom;

use super::actor::Actor;
use super::address::Reach;
use super::error::MeshError;
use super::operator_dials::OperatorDial;
use super::peer_table::Link;
use super::seeds::{self, Seed};

/// Known peers that are dialled at the same time.
const DIALS_MAX: usize = 8;

/// Kademlia lookups under way at the same time.
const LOOKUPS_MAX: usize = 4;

/// Time after which a peer that said "busy" is dialled again.
pub const BUSY_WAIT: Duration = Duration::from_mins(1);

/// The state of the search for peers.
pub struct Discovery {
    pub(super) seeds: Vec<Seed>,
    pub(super) operator_dials: Vec<OperatorDial>,
    /// Dials under way to a place whose peer another dial has already reached. Each ends within `Timings::dial`.
    pub(super) surplus: BTreeSet<ConnectionId>,
    lookup_next: Instant,
    lookup_wait: Duration,
    lookups: u64,
}

/// The use of a new connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// True if an operator asked for the connection.
    pub for_operator: bool,
    /// True if another dial was faster, so this connection is not needed.
    pub surplus: bool,
}

impl Discovery {
    /// Reads the bootstrap addresses. An address that cannot be read is the operator's mistake, so it stops the start with an
    /// error.
    pub fn new(bootstrap: &[String], lookup_wait: Duration, now: Instant) -> Result<Self, MeshError> {
        Ok(Self {
            seeds: seeds::read(bootstrap, now)?,
            operator_dials: Vec::new(),
            surplus: BTreeSet::new(),
            lookup_next: now,
            lookup_wait,
            lookups: 0,
        })
    }

    /// Makes a lookup due soon, since a peer came, left or became known.
    pub fn hurry(&mut self, wait: Duration, now: Instant) {
        self.lookup_wait = wait;
        self.lookup_next = self.lookup_next.min(now + wait);
    }

    fn lookup_due(&mut self, max: Duration, now: Instant) -> bool {
        if now < self.lookup_next {
            return false;
        }
        self.lookup_next = now + self.lookup_wait;
        self.lookup_wait = (self.lookup_wait * 2).min(max);
        self.lookups += 1;
        true
    }

    /// Notes that a connection is open, from one of these dials or in another way. Returns its use as [`Reached`].
    pub fn reached(&mut self, id: ConnectionId, peer: PeerId) -> Reached {
        let mut reached = Reached {
            surplus: self.surplus.remove(&id),
            ..Reached::default()
        };
        for dial in self.operator_dials.extract_if(.., |dial| dial.owns(id)) {
            reached.for_operator = true;
            self.surplus.extend(dial.reached(id, peer));
        }
        for seed in self.seeds.iter_mut().filter(|seed| seed.owns(id)) {
            self.surplus.extend(seed.reached(id, peer));
        }
        reached
    }

    /// Notes that the peer was admitted, so its bootstrap address ([`Seed`]) works.
    pub fn admitted(&mut self, peer: &PeerId, wait: Duration, now: Instant) {
        for seed in &mut self.seeds {
            seed.admitted(peer, wait, now);
        }
    }

    /// Puts off the next dial of a peer that refused this node, or that was refused, to the time `at`.
    pub fn not_before(&mut self, peer: &PeerId, at: Instant) {
        for seed in &mut self.seeds {
            seed.not_before(peer, at);
        }
    }
}

impl Actor {
    /// Due work: starts dials and lookups.
    pub(super) fn tick_discovery(&mut self, now: Instant) {
        let admitted = self.peers.admitted_count();
        let target = self.peers_target();
        self.tick_seeds(admitted < target, now);
        self.tick_operator_dials(now);
        self.dial_known(target.saturating_sub(admitted), now);
        let looking = self.swarm.behaviour().kad.iter_queries().count();
        if admitted > 0 && looking < LOOKUPS_MAX && self.discovery.lookup_due(self.config.timings.lookup_wait_max, now)
        {
            // The first lookup is for the own id, so that peers near it learn of this node. Then random ids alternate with
            // it, and reach every bucket.
            let target = if self.discovery.lookups % 2 == 1 {
                self.own
            } else {
                PeerId::random()
            };
            self.swarm.behaviour_mut().kad.get_closest_peers(target);
        }
    }

    /// Returns the number of peers to dial up to. A quarter of the connections is left to peers that come in.
    fn peers_target(&self) -> usize {
        let most = self.config.connections_max as usize * 3 / 4;
        self.config.peers_target.min(most.max(1))
    }

    fn dial_known(&mut self, missing: usize, now: Instant) {
        let dialing = self.peers.iter().filter(|p| p.link == Link::Dialing).count();
        let room = missing.saturating_sub(dialing);
        let mut due: Vec<_> = self
            .peers
            .iter()
            .filter(|p| p.link == Link::Idle && p.connections.is_empty() && !p.addresses.is_empty())
            .filter(|p| p.backoff.due(now) && self.peers.ban_of(&p.id).is_none())
            .map(|p| (!p.wanted, p.backoff.failures(), p.id))
            .collect();
        // Among equal peers the order is random, or else every node of a swarm would dial the same few.
        due.shuffle(&mut rand::rng());
        due.sort_by_key(|(unwanted, failures, _)| (*unwanted, *failures));
        let mut slots = DIALS_MAX.saturating_sub(dialing);
        for (taken, (unwanted, _, id)) in due.into_iter().enumerate() {
            if slots == 0 || (unwanted && taken >= room) {
                return;
            }
            slots -= 1;
            let addresses = self.peers.get(&id).map(|p| p.addresses.clone());
            self.dial_peer(id, addresses.unwrap_or_default(), now);
        }
    }

    /// Handles one [`kad::Event`].
    pub(super) fn on_kad(&mut self, event: kad::Event, now: Instant) {
        let kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetClosestPeers(Ok(found)),
            ..
        } = event
        else {
            return;
        };
        // The addresses are claims of other peers: a loopback address is of use only if an admitted peer is on this host.
        let seen = self.peers.admitted().filter_map(super::peer_table::Peer::reach).min();
        let seen = seen.unwrap_or(Reach::Global);
        for peer in found.peers.into_iter().filter(|p| p.peer_id != self.own) {
            if self.peers.get(&peer.peer_id).is_none() {
                self.peers.learn(peer.peer_id, &peer.addrs, seen, now);
                self.discovery.hurry(self.config.timings.lookup_wait_min, now);
            }
        }
    }
}
