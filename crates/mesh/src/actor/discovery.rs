//! Finding peers: the bootstrap addresses, peers known from before, and Kademlia lookups.

use std::time::Instant;

use libp2p::{PeerId, kad};
use rand::seq::SliceRandom;

use super::Actor;
use crate::address::Reach;
use crate::peer_table::{Link, Peer};

/// Known peers that are dialled at the same time.
const DIALS_MAX: usize = 8;

/// Kademlia lookups under way at the same time.
const LOOKUPS_MAX: usize = 4;

impl Actor {
    /// Due work: starts dials and lookups.
    pub(super) fn tick_discovery(&mut self, now: Instant) {
        let admitted = self.peers.admitted_count();
        let target = self.peers_target();
        self.tick_seed_names(admitted < target, now);
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
        let seen = self.peers.admitted().filter_map(Peer::reach).min();
        let seen = seen.unwrap_or(Reach::Global);
        for peer in found.peers.into_iter().filter(|p| p.peer_id != self.own) {
            if self.peers.get(&peer.peer_id).is_none() {
                self.peers.learn(peer.peer_id, &peer.addrs, seen, now);
                self.discovery.hurry(self.config.timings.lookup_wait_min, now);
            }
        }
    }
}
