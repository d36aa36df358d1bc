//! Listening: one port number for TCP and QUIC, and which addresses others are told.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, kad};

use super::actor::Actor;
use super::{MeshError, address};

/// Ports tried when the system shall pick one: it must be free for TCP and for UDP.
const PORT_TRIES_MAX: usize = 32;

/// A given port that is in use is tried again this often, and after this long each time.
const PORT_WAITS_MAX: u32 = 5;
const PORT_WAIT: Duration = Duration::from_millis(200);

/// Multiaddrs that an operator may announce.
const ANNOUNCE_MAX: usize = 4;

/// The addresses that an operator says others can reach.
pub fn announced(texts: &[String]) -> Result<Vec<Multiaddr>, MeshError> {
    let mut all = Vec::new();
    if texts.len() > ANNOUNCE_MAX {
        let problem = format!("{} announced addresses, at most {ANNOUNCE_MAX}", texts.len());
        return Err(MeshError::Setup(problem));
    }
    for text in texts {
        all.extend(address::parse(text)?.addresses);
    }
    Ok(all)
}

/// A port that is free for TCP and UDP. libp2p's own sockets share ports (`SO_REUSEPORT`): a second node would start
/// without an error and get half of the first one's connections, so plain sockets ask first.
fn free_port(ip: IpAddr, port: u16) -> Result<u16, MeshError> {
    let mut last = None;
    for _ in 0..if port == 0 { PORT_TRIES_MAX } else { 1 } {
        let attempt = TcpListener::bind(SocketAddr::new(ip, port)).and_then(|listener| {
            let picked = listener.local_addr()?.port();
            UdpSocket::bind(SocketAddr::new(ip, picked))?;
            Ok(picked)
        });
        match attempt {
            Ok(picked) => return Ok(picked),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(MeshError::Setup(format!("cannot listen on {ip} port {port}: {error}"))),
        }
    }
    Err(MeshError::PortInUse {
        port,
        error: last.map(|e| e.to_string()).unwrap_or_default(),
    })
}

impl Actor {
    /// Listens on TCP and QUIC, and waits until both do.
    pub(super) async fn listen(&mut self) -> Result<(), MeshError> {
        let port = self.pick_port().await?;
        let mut pending = Vec::new();
        for address in address::both(&Protocol::from(self.config.listen), port) {
            let id = self.swarm.listen_on(address).map_err(|e| MeshError::PortInUse {
                port,
                error: e.to_string(),
            })?;
            pending.push(id);
        }
        while !pending.is_empty() {
            match self.swarm.select_next_some().await {
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
                event => self.on_swarm_event(event, Instant::now()),
            }
        }
        Ok(())
    }

    /// The port to listen on. One that was just left may be held for another moment (QUIC drains its connections).
    async fn pick_port(&self) -> Result<u16, MeshError> {
        let mut tries = 0;
        loop {
            match free_port(self.config.listen, self.config.port) {
                Err(MeshError::PortInUse { .. }) if tries < PORT_WAITS_MAX => tries += 1,
                outcome => return outcome,
            }
            tokio::time::sleep(PORT_WAIT).await;
        }
    }

    /// A peer sees us at one of our own interfaces' addresses: nothing translates in between, so others can reach us too, and
    /// we serve Kademlia. (Behind a NAT we stay a client: an entry that nobody can dial spoils others' tables.)
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

    /// A new address that we listen on: tell peers, nearest reach last, at most eight.
    pub(super) fn on_listen_address(&mut self, address: Multiaddr) {
        if !self.listening.contains(&address) {
            self.listening.push(address);
        }
        self.listening
            .sort_by_key(|a| (!address::is_tcp(a), std::cmp::Reverse(address::reach(a)), a.to_string()));
        self.announce();
        self.snapshot_changed = true;
    }

    /// An address is gone.
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

    /// Own addresses as an operator copies them.
    pub(super) fn listen_addresses(&self) -> Vec<String> {
        let all = self.announced.iter().chain(&self.listening);
        all.map(|a| a.clone().with(Protocol::P2p(self.own)).to_string())
            .collect()
    }
}
