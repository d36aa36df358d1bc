//! Handles the runs that peers report: those of this node's own identity, and their own.

use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use qres_wire::clock::unix_ms;
use qres_wire::pb;

use super::Actor;
use crate::hello::Hello;
use crate::limits::TWIN_SILENT_PERIODS;
use crate::sighting::Next;
use crate::twin::{NONCE_BYTES, SIGNATURE_BYTES};

impl Actor {
    /// Returns the time of silence after which a twin, or a peer's run, counts as gone: [`TWIN_SILENT_PERIODS`]
    /// heartbeat periods.
    fn silence(&self, now: Instant) -> Duration {
        self.heartbeat_timer.period(self.authors.alive(now) + 1) * TWIN_SILENT_PERIODS
    }

    /// Returns this node's hello, with its run signed now.
    pub(super) fn greeting(&self) -> Hello {
        Hello {
            boot: Some(self.twins.boot.sign(unix_ms())),
            ..self.hello.clone()
        }
    }

    /// Handles a run of this node's own identity, which a peer says that it has met or which signed a heartbeat.
    pub(super) fn on_own_boot(&mut self, boot: &pb::Boot, met_at: &str, now: Instant) {
        if self.twins.is_news(boot) {
            let silence = self.silence(now);
            self.twins.met(met_at, silence, now);
        }
    }

    /// Handles the run that a connected peer says it is.
    pub(super) fn on_boot(&mut self, peer: PeerId, boot: pb::Boot, address: String, now: Instant) {
        let Some(connections) = self.peers.get(&peer).map(|p| p.connections.len()).filter(|n| *n > 0) else {
            return;
        };
        if boot.nonce.len() != NONCE_BYTES || boot.signature.len() != SIGNATURE_BYTES {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.clock.note(boot.signed_unix_ms, unix_ms(), now);
        }
        let recent = self.silence(now);
        let twins = match self.twins.sightings.note(&peer, boot, address, recent, now) {
            Next::Rest => return,
            Next::Ask => vec![],
            Next::Tell(twins) => {
                let places: Vec<&str> = twins.iter().map(|twin| twin.address.as_str()).collect();
                tracing::warn!(%peer, "two processes run with the identity of peer {peer} ({}): both are told", places.join(" and "));
                twins
            }
        };
        // Requests take a peer's connections in turn, so this many requests reach each connection.
        for _ in 0..connections {
            let mut hello = self.greeting();
            hello.twins.clone_from(&twins);
            self.swarm.behaviour_mut().hello.send_request(&peer, hello);
        }
    }

    /// Due work: declares twins gone, and asks at addresses that are due.
    pub(super) fn tick_twins(&mut self, now: Instant) {
        let silence = self.silence(now);
        self.twins.tick(silence, now);
        self.tick_probes(now);
    }

    /// Handles the result of a probe: the hello, if any, from an address where this node's own key answered.
    pub(super) fn on_probed(&mut self, address: &Multiaddr, answered: Option<&Hello>, now: Instant) {
        let is_twin = answered.is_some_and(|hello| self.twins.boot.is_other(hello.boot.as_ref()));
        if is_twin {
            let silence = self.silence(now);
            self.twins.met(&address.to_string(), silence, now);
        }
        self.probes
            .done(address, is_twin, now + self.config.timings.heartbeat_min);
    }
}
