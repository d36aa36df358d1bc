//! The state of the search for peers: bootstrap addresses, operators' dials, and the time of the next Kademlia lookup.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

use super::error::MeshError;
use super::operator_dial::OperatorDial;
use super::seed::{self, Seed};

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
    /// Number of lookups so far.
    pub(super) lookups: u64,
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
            seeds: seed::read(bootstrap, now)?,
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

    /// Returns true if a lookup is due, and counts it. The wait for the next one doubles, up to `max`.
    pub(super) fn lookup_due(&mut self, max: Duration, now: Instant) -> bool {
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
