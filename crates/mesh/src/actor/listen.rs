//! Listening on one port number for TCP and QUIC, IPv4 and IPv6, and the addresses that others are told.

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, kad};
use qres_wire::clock;

use super::Actor;
use crate::address;
use crate::error::MeshError;
use crate::listen::{expected, free_port, present};

/// Further tries of a given port that is in use, and the wait before each.
const PORT_WAITS_MAX: u32 = 5;
const PORT_WAIT: Duration = Duration::from_millis(200);

/// Time that the listeners have to report their addresses.
const LISTEN_WAIT_MAX: Duration = Duration::from_secs(5);

impl Actor {
    /// Listens on TCP and QUIC, and returns once both listen on all addresses of this machine.
    pub(crate) async fn listen(&mut self) -> Result<(), MeshError> {
        let hosts = present(&self.config.listen)?;
        let port = self.pick_port(&hosts).await?;
        let mut pending = Vec::new();
        // A network with a key speaks TCP alone.
        let spoken = |address: &Multiaddr| self.config.network_key.is_none() || !address::is_quic(address);
        let addresses = hosts
            .iter()
            .flat_map(|host| address::both(&Protocol::from(*host), port));
        let expected: Vec<Multiaddr> = expected(&hosts, port).into_iter().filter(spoken).collect();
        for address in addresses.filter(spoken).collect::<Vec<_>>() {
            let id = self.swarm.listen_on(address).map_err(|e| MeshError::PortInUse {
                port,
                error: e.to_string(),
            })?;
            pending.push(id);
        }
        let deadline = tokio::time::Instant::now() + LISTEN_WAIT_MAX;
        while !pending.is_empty() || expected.iter().any(|a| !self.listening.contains(a)) {
            let event = self.swarm.select_next_some();
            let Ok(event) = tokio::time::timeout_at(deadline, event).await else {
                // A network card may have come or gone meanwhile. But a listener that has reported no address has failed.
                if pending.is_empty() {
                    break;
                }
                let error = format!("no answer within {} s", LISTEN_WAIT_MAX.as_secs());
                return Err(MeshError::PortInUse { port, error });
            };
            match event {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    pending.retain(|id| *id != listener_id);
                    self.on_listen_address(address);
                }
                SwarmEvent::ListenerClosed {
                    listener_id, reason, ..
                } if pending.contains(&listener_id) => {
                    let error = reason.err().map_or_else(|| "closed".to_owned(), |e| e.to_string());
                    return Err(MeshError::PortInUse { port, error });
                }
                event => self.on_swarm_event(event, clock::now()),
            }
        }
        Ok(())
    }

    /// Returns the port to listen on. A port that was in use a moment ago may stay so for another moment (QUIC drains its
    /// connections), so a port in use is tried up to [`PORT_WAITS_MAX`] more times.
    async fn pick_port(&self, hosts: &[IpAddr]) -> Result<u16, MeshError> {
        let mut tries = 0;
        loop {
            match free_port(hosts, self.config.port) {
                Err(MeshError::PortInUse { .. }) if tries < PORT_WAITS_MAX => tries += 1,
                outcome => return outcome,
            }
            tokio::time::sleep(PORT_WAIT).await;
        }
    }

    /// Takes the address at which a peer sees this node. If it is an address of one of this node's own interfaces, no NAT is
    /// in between: others can reach this node, so it serves Kademlia. Behind a NAT it stays a client, since an entry that
    /// cannot be dialled spoils the tables of others.
    pub(super) fn note_observed(&mut self, observed: &Multiaddr) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        if kad.mode() == kad::Mode::Server {
            return;
        }
        let Some(seen_as) = address::ip(observed) else { return };
        if self.listening.iter().any(|a| address::ip(a) == Some(seen_as)) {
            kad.set_mode(Some(kad::Mode::Server));
        }
    }

    /// Adds an address that this node now listens on, and tells peers. The list is sorted by [`address::preference`].
    pub(super) fn on_listen_address(&mut self, address: Multiaddr) {
        if !address::is_dialable(&address) {
            return;
        }
        if !self.listening.contains(&address) {
            self.listening.push(address);
        }
        self.listening.sort_by_key(address::preference);
        self.announce();
        self.snapshot_changed = true;
    }

    /// Removes an address that this node no longer listens on, and tells peers.
    pub(super) fn on_listen_address_gone(&mut self, address: &Multiaddr) {
        self.listening.retain(|a| a != address);
        self.announce();
        self.snapshot_changed = true;
    }

    fn announce(&mut self) {
        let wanted: Vec<Multiaddr> = self
            .announced
            .iter()
            .chain(&self.listening)
            .take(address::ADDRESSES_MAX)
            .cloned()
            .collect();
        let present: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        for gone in present.iter().filter(|a| !wanted.contains(a)) {
            self.swarm.remove_external_address(gone);
        }
        for new in wanted.into_iter().filter(|a| !present.contains(a)) {
            self.swarm.add_external_address(new);
        }
    }

    /// Returns own addresses as an operator copies them, with the peer id.
    pub(super) fn listen_addresses(&self) -> Vec<String> {
        let all = self.announced.iter().chain(&self.listening);
        all.map(|a| a.clone().with(Protocol::P2p(self.own)).to_string())
            .collect()
    }
}
