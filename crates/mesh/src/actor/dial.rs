//! Dials of peers, and the handling of their failures.

use std::time::Instant;

use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};

use super::Actor;
use crate::address::{self, Reach};
use crate::backoff::jitter;
use crate::dial::{known_peer, words};
use crate::peer_table::Link;

/// A peer that was never connected is forgotten after this many failed dials (some 10 minutes).
const FAILURES_MAX: u32 = 16;

impl Actor {
    pub(super) fn dial_peer(&mut self, id: PeerId, addresses: Vec<Multiaddr>, now: Instant) {
        let options = known_peer(id, addresses);
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.note_dialing(id, now),
            Err(error) => self.on_dial_error(connection, Some(id), &error, now),
        }
    }

    /// Notes that a behaviour or the actor dials a peer.
    pub(super) fn note_dialing(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.peers.entry(id, now)
            && peer.link == Link::Idle
        {
            peer.link = Link::Dialing;
            self.outbox.peer_changed(id);
        }
    }

    /// Handles a failed dial: counts it, tells the seeds and the operator's dials, and makes the wait for the peer longer.
    pub(super) fn on_dial_error(&mut self, id: ConnectionId, peer: Option<PeerId>, error: &DialError, now: Instant) {
        let harmless = matches!(error, DialError::DialPeerConditionFalse(_));
        if !harmless {
            self.counters.dial_failures.add();
        }
        self.discovery.surplus.remove(&id);
        self.on_seed_dial_error(id, error, now);
        self.on_operator_dial_error(id, &words(error), now);
        if let DialError::LocalPeerId { address } = error {
            self.on_own_answer(address, now);
        } else if let DialError::WrongPeerId { obtained, address } = error {
            self.move_address(peer, *obtained, address, now);
        }
        if let Some(peer) = peer.filter(|_| !harmless) {
            self.note_dial_failed(peer, now);
        }
    }

    fn note_dial_failed(&mut self, id: PeerId, now: Instant) {
        let (min, max) = (self.config.timings.dial_wait_min, self.config.timings.dial_wait_max);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.link == Link::Dialing {
            peer.link = Link::Idle;
        }
        if !peer.connections.is_empty() {
            return;
        }
        // A peer that was connected once is tried for ever, but ten times as slowly after many failures.
        let max = if peer.backoff.failures() > FAILURES_MAX {
            max * 10
        } else {
            max
        };
        peer.backoff.fail(min, max, jitter(), now);
        let never_good = peer.last_good_unix_ms == 0;
        if never_good && (peer.addresses.is_empty() || peer.backoff.failures() >= FAILURES_MAX) {
            self.swarm.behaviour_mut().kad.remove_peer(&id);
            if self.peers.ban_of(&id).is_none() {
                self.peers.remove(&id);
            }
        }
        self.outbox.peer_changed(id);
    }

    /// Moves an address in the peer table: the peer `to` answers there, not the peer `from` that the table names.
    fn move_address(&mut self, from: Option<PeerId>, to: PeerId, at: &Multiaddr, now: Instant) {
        let Some((_, bare)) = address::split_peer(at.clone()) else {
            return;
        };
        if let Some(peer) = from.and_then(|p| self.peers.get_mut(&p)) {
            peer.addresses.retain(|a| *a != bare);
        }
        if let Some(from) = from {
            self.swarm.behaviour_mut().kad.remove_address(&from, at);
        }
        if to == self.own {
            self.on_own_answer(at, now);
        } else {
            self.peers.learn(to, &[bare], Reach::Loopback, now);
        }
    }
}
