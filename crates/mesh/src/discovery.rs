//! Finding others: the bootstrap addresses, peers known from before, and Kademlia lookups.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, kad};
use rand::seq::SliceRandom;

use super::MeshError;
use super::actor::Actor;
use super::address::Reach;
use super::operator_dials::OperatorDial;
use super::peers::Link;
use super::seeds::{self, Seed};

/// Known peers dialled at the same time.
const DIALS_MAX: usize = 8;

/// Lookups under way.
const LOOKUPS_MAX: usize = 4;

/// A peer that said it is busy is asked again after this.
pub const BUSY_WAIT: Duration = Duration::from_mins(1);

/// State of the search.
pub struct Discovery {
    pub(super) seeds: Vec<Seed>,
    pub(super) operator_dials: Vec<OperatorDial>,
    /// Dials under way to a place whose peer another dial has already reached. Each ends within `Timings::dial`.
    pub(super) surplus: BTreeSet<ConnectionId>,
    lookup_next: Instant,
    lookup_wait: Duration,
    lookups: u64,
}

/// What a new connection is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// An operator asked for it.
    pub for_operator: bool,
    /// Another dial was faster: nobody needs it.
    pub surplus: bool,
}

impl Discovery {
    /// Reads the bootstrap addresses; one that cannot be read is the operator's mistake and stops the start.
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

    /// Someone came or went: look again soon.
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

    /// A connection stands, by one of these dials or another way.
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

    /// The peer was admitted: its address works.
    pub fn admitted(&mut self, peer: &PeerId, wait: Duration, now: Instant) {
        for seed in &mut self.seeds {
            seed.admitted(peer, wait, now);
        }
    }

    /// The peer refused, or was refused: not before then.
    pub fn not_before(&mut self, peer: &PeerId, at: Instant) {
        for seed in &mut self.seeds {
            seed.not_before(peer, at);
        }
    }
}

impl Actor {
    /// Due work: dials and lookups.
    pub(super) fn tick_discovery(&mut self, now: Instant) {
        let admitted = self.book.admitted_count();
        let target = self.peers_target();
        self.tick_seeds(admitted < target, now);
        self.tick_operator_dials(now);
        self.dial_known(target.saturating_sub(admitted), now);
        let looking = self.swarm.behaviour().kad.iter_queries().count();
        if admitted > 0 && looking < LOOKUPS_MAX && self.discovery.lookup_due(self.config.timings.lookup_wait_max, now)
        {
            // Own id first: whoever is near learns of us. Then random ones, which reach every bucket.
            let target = if self.discovery.lookups % 2 == 1 {
                self.own
            } else {
                PeerId::random()
            };
            self.swarm.behaviour_mut().kad.get_closest_peers(target);
        }
    }

    /// Dial up to this many; a quarter of the connections is left to those who come in.
    fn peers_target(&self) -> usize {
        let most = self.config.connections_max as usize * 3 / 4;
        self.config.peers_target.min(most.max(1))
    }

    fn dial_known(&mut self, missing: usize, now: Instant) {
        let dialing = self.book.iter().filter(|p| p.link == Link::Dialing).count();
        let room = missing.saturating_sub(dialing);
        let mut due: Vec<_> = self
            .book
            .iter()
            .filter(|p| p.link == Link::Idle && p.connections.is_empty() && !p.addresses.is_empty())
            .filter(|p| p.backoff.due(now) && self.book.ban_of(&p.id).is_none())
            .map(|p| (!p.wanted, p.backoff.failures(), p.id))
            .collect();
        // Among equals a random one, or every node of a swarm would dial the same few.
        due.shuffle(&mut rand::rng());
        due.sort_by_key(|(unwanted, failures, _)| (*unwanted, *failures));
        let mut slots = DIALS_MAX.saturating_sub(dialing);
        for (taken, (unwanted, _, id)) in due.into_iter().enumerate() {
            if slots == 0 || (unwanted && taken >= room) {
                return;
            }
            slots -= 1;
            let addresses = self.book.get(&id).map(|p| p.addresses.clone());
            self.dial_peer(id, addresses.unwrap_or_default(), now);
        }
    }

    /// One event of Kademlia's.
    pub(super) fn on_kad(&mut self, event: kad::Event, now: Instant) {
        let kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetClosestPeers(Ok(found)),
            ..
        } = event
        else {
            return;
        };
        // Others' claims: what they see at loopback is only worth something when we are on the same host.
        let seen = self.book.admitted().filter_map(super::peers::Peer::reach).min();
        let seen = seen.unwrap_or(Reach::Global);
        for peer in found.peers.into_iter().filter(|p| p.peer_id != self.own) {
            if self.book.get(&peer.peer_id).is_none() {
                self.book.learn(peer.peer_id, &peer.addrs, seen, now);
                self.discovery.hurry(self.config.timings.lookup_wait_min, now);
            }
        }
    }
}
