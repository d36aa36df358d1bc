//! identify: the second version check, a peer's addresses, and the address at which a peer sees this node.

use std::time::Instant;

use libp2p::{PeerId, identify};

use super::Actor;
use crate::behaviour::speaks_kad;
use crate::{address, hello};

impl Actor {
    /// Handles one [`identify::Event`]: checks the version, takes the peer's addresses, and notes at which address the peer
    /// sees this node.
    pub(super) fn on_identify(&mut self, event: identify::Event, now: Instant) {
        let identify::Event::Received { peer_id, info, .. } = event else {
            return;
        };
        if let Err(mismatch) = hello::check_identify(&self.hello, &info.protocol_version) {
            self.on_identify_mismatch(peer_id, mismatch, now);
            return;
        }
        self.note_observed(&info.observed_addr);
        let Some(peer) = self.peers.get_mut(&peer_id) else {
            return;
        };
        let Some(seen) = peer.reach() else { return };
        let dialled = peer.connections.iter().find(|c| c.dialled).map(|c| c.address.clone());
        peer.addresses = address::select(&peer_id, &info.listen_addrs, dialled.as_ref(), seen);
        peer.kad = speaks_kad(&info.protocols);
        self.outbox.peer_changed(peer_id);
        self.route(&peer_id);
    }

    /// Enters a peer into the routing table once it is admitted and identified.
    pub(super) fn route(&mut self, id: &PeerId) {
        let Some(peer) = self.peers.get(id).filter(|p| p.is_admitted() && p.kad) else {
            return;
        };
        let kad = &mut self.swarm.behaviour_mut().kad;
        for address in &peer.addresses {
            kad.add_address(id, address.clone());
        }
    }
}
