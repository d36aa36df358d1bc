//! Dials of the bootstrap addresses (seeds).

use std::time::Instant;

use libp2p::PeerId;
use libp2p::swarm::{ConnectionId, DialError};

use super::Actor;
use crate::address;
use crate::attempt::Attempt;
use crate::dial::{self, known_peer, words};
use crate::peer_table::{Link, Peer};
use crate::seed::Seed;

impl Actor {
    /// Due work: dials bootstrap addresses while peers are missing, and the next address of each attempt under way.
    pub(super) fn tick_seeds(&mut self, missing: bool, now: Instant) {
        for at in 0..self.discovery.seeds.len() {
            self.note_own_seed(at);
            self.learn_seed(at);
            if missing && self.is_seed_due(at, now) {
                self.begin_seed(at, now);
            }
            self.pursue_seed(at, now);
        }
    }

    fn is_seed_due(&self, at: usize, now: Instant) -> bool {
        let seed = &self.discovery.seeds[at];
        let busy = |id: PeerId| {
            let taken = |p: &Peer| p.link != Link::Idle || !p.connections.is_empty() || !p.backoff.due(now);
            self.peers.ban_of(&id).is_some() || self.peers.get(&id).is_some_and(taken)
        };
        !seed.own && seed.attempt.is_none() && seed.backoff.due(now) && !seed.learnt.is_some_and(busy)
    }

    /// Notes that a seed is one of the addresses that this node listens on: libp2p dials none of these, and calls that a failure.
    fn note_own_seed(&mut self, at: usize) {
        let seed = &mut self.discovery.seeds[at];
        if !seed.own && seed.target.addresses.iter().any(|a| self.listening.contains(a)) {
            tracing::info!(bootstrap = %seed.text, "this bootstrap address is this very node: not dialled");
            seed.attempt = None;
            seed.own = true;
        }
    }

    /// Learns which peer is at a place of a name, if the peer came by itself: it says that it listens there, and its connection
    /// comes from there. The claim alone would let any peer keep others from being found.
    fn learn_seed(&mut self, at: usize) {
        let seed = &mut self.discovery.seeds[at];
        if seed.name.is_none() || seed.learnt.is_some() || seed.attempt.is_some() {
            return;
        }
        let Some(first) = seed.target.addresses.first() else {
            return;
        };
        let is_there = |peer: &&Peer| {
            let comes_from = |ip| peer.connections.iter().any(|c| address::ip(&c.address) == Some(ip));
            peer.addresses.contains(first) && address::ip(first).is_some_and(comes_from)
        };
        seed.learnt = self.peers.admitted().find(is_there).map(|peer| peer.id);
    }

    fn begin_seed(&mut self, at: usize, now: Instant) {
        let seed = &mut self.discovery.seeds[at];
        let addresses = seed.target.addresses.clone();
        let Some(peer) = seed.learnt else {
            seed.attempt = Some(Attempt::new(addresses, now));
            return;
        };
        let options = known_peer(peer, addresses);
        let id = options.connection_id();
        seed.attempt = Some(Attempt::under_way(id, now));
        if let Err(error) = self.swarm.dial(options) {
            self.on_dial_error(id, None, &error, now);
        }
    }

    fn pursue_seed(&mut self, at: usize, now: Instant) {
        let (min, max) = (self.config.timings.dial_wait_min, self.config.timings.dial_wait_max);
        let name = self.discovery.seeds[at].name;
        let answers = |seed: &Seed| seed.name == name && !seed.own && seed.backoff.failures() == 0;
        let others = self
            .discovery
            .seeds
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at);
        let quiet = name.is_some() && others.map(|(_, seed)| seed).any(answers);
        let seed = &mut self.discovery.seeds[at];
        if let Some(attempt) = &mut seed.attempt {
            attempt.pursue(now, |address| dial::unknown_peer(&mut self.swarm, address));
        }
        seed.end_if_lost(min, max, quiet, now);
    }

    /// Handles a failed dial, which may be one of a bootstrap address.
    pub(super) fn on_seed_dial_error(&mut self, id: ConnectionId, error: &DialError, now: Instant) {
        let Some(at) = self.discovery.seeds.iter().position(|seed| seed.owns(id)) else {
            return;
        };
        let seed = &mut self.discovery.seeds[at];
        match error {
            DialError::DialPeerConditionFalse(_) => seed.attempt = None,
            DialError::LocalPeerId { address } if address::is_one_of(address, &self.listening) => {
                tracing::info!(bootstrap = %seed.text, "this bootstrap address is this very node: not dialled");
                seed.attempt = None;
                seed.own = true;
            }
            _ => {
                if matches!(error, DialError::WrongPeerId { .. }) && seed.target.peer.is_none() {
                    // Another peer answers there now, so the seed must learn the peer's id again.
                    seed.learnt = None;
                }
                if let Some(attempt) = &mut seed.attempt {
                    attempt.failed(id, words(error));
                }
                self.pursue_seed(at, now);
            }
        }
    }
}
