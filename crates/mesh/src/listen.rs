//! Listening on one port number for TCP and QUIC, IPv4 and IPv6, and the addresses that others are told.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, kad};
use socket2::{Domain, Socket, Type};

use super::actor::Actor;
use super::address;
use super::error::MeshError;

/// Ports tried when the system picks one; it must be free for TCP and for UDP.
const PORT_TRIES_MAX: usize = 32;

/// Further tries of a given port that is in use, and the wait before each.
const PORT_WAITS_MAX: u32 = 5;
const PORT_WAIT: Duration = Duration::from_millis(200);

/// Time that the listeners have to report their addresses.
const LISTEN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Largest number of addresses that an operator may announce.
const ANNOUNCE_MAX: usize = 4;

/// Reads the addresses that, as the operator says, others can reach.
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

/// Returns those of the addresses to listen on that this machine has. A host without IPv6 (or IPv4) does without `::` (or
/// `0.0.0.0`), as long as it can listen on another address.
fn present(hosts: &[IpAddr]) -> Result<Vec<IpAddr>, MeshError> {
    let mut present = Vec::new();
    let mut missing = None;
    for host in hosts {
        match bind(*host, 0, Type::STREAM) {
            Ok(_) => present.push(*host),
            Err(error) if host.is_unspecified() => {
                tracing::info!(%error, "this machine cannot listen on {host}");
                missing = Some((host, error));
            }
            Err(error) => return Err(cannot_listen(*host, 0, &error)),
        }
    }
    match missing {
        Some((host, error)) if present.is_empty() => Err(cannot_listen(*host, 0, &error)),
        _ => Ok(present),
    }
}

fn cannot_listen(host: IpAddr, port: u16, error: &std::io::Error) -> MeshError {
    let at = if port == 0 {
        String::new()
    } else {
        format!(" port {port}")
    };
    MeshError::Setup(format!("cannot listen on {host}{at}: {error} (--listen, --port)"))
}

/// Opens a plain [`Socket`] at an address as libp2p does: an IPv6 socket leaves IPv4 alone, so that both can have one port
/// number.
fn bind(host: IpAddr, port: u16, kind: Type) -> std::io::Result<Socket> {
    let address = SocketAddr::new(host, port);
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if host.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Closed connections of a former run wait for a minute; they must not keep this run from the port.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(1)?;
    }
    Ok(socket)
}

/// Returns a port that is free for TCP and UDP at every address. libp2p's own sockets share ports (`SO_REUSEPORT`): a second
/// node would start without an error and get half of the first one's connections. Plain sockets do not share a port, so they
/// try it first.
fn free_port(hosts: &[IpAddr], port: u16) -> Result<u16, MeshError> {
    let mut last = None;
    for _ in 0..if port == 0 { PORT_TRIES_MAX } else { 1 } {
        match take_port(hosts, port) {
            Ok(picked) => return Ok(picked),
            Err((_, error)) if error.kind() == std::io::ErrorKind::AddrInUse => last = Some(error),
            Err((host, error)) => return Err(cannot_listen(host, port, &error)),
        }
    }
    Err(MeshError::PortInUse {
        port,
        error: last.map(|e| e.to_string()).unwrap_or_default(),
    })
}

/// Binds a port at every address and releases it at once; port 0 lets the system pick one. Returns the port.
fn take_port(hosts: &[IpAddr], port: u16) -> Result<u16, (IpAddr, std::io::Error)> {
    let mut picked = port;
    let mut held = Vec::new();
    for host in hosts {
        for kind in [Type::STREAM, Type::DGRAM] {
            let socket = bind(*host, picked, kind).map_err(|error| (*host, error))?;
            let address = socket.local_addr().map_err(|error| (*host, error))?;
            picked = address.as_socket().map_or(picked, |address| address.port());
            held.push(socket);
        }
    }
    Ok(picked)
}

/// Returns the addresses that libp2p will report for `hosts`. An unspecified address stands for all addresses of its family
/// that the machine's network cards have now.
fn expected(hosts: &[IpAddr], port: u16) -> Vec<Multiaddr> {
    // The list is only for the wait in `listen`: an address that is missing from it is not waited for.
    let cards: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .map(if_addrs::Interface::ip)
        .collect();
    let of_host = |host: &IpAddr| -> Vec<IpAddr> {
        if host.is_unspecified() {
            let same = |ip: &&IpAddr| ip.is_ipv4() == host.is_ipv4();
            cards.iter().filter(same).copied().collect()
        } else {
            vec![*host]
        }
    };
    let all = hosts.iter().flat_map(of_host);
    all.flat_map(|ip| address::both(&Protocol::from(ip), port))
        .filter(address::is_dialable)
        .collect()
}

impl Actor {
    /// Listens on TCP and QUIC, and returns once both listen on all addresses of this machine.
    pub(super) async fn listen(&mut self) -> Result<(), MeshError> {
        let hosts = present(&self.config.listen)?;
        let port = self.pick_port(&hosts).await?;
        let mut pending = Vec::new();
        for address in hosts
            .iter()
            .flat_map(|host| address::both(&Protocol::from(*host), port))
        {
            let id = self.swarm.listen_on(address).map_err(|e| MeshError::PortInUse {
                port,
                error: e.to_string(),
            })?;
            pending.push(id);
        }
        let expected = expected(&hosts, port);
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
                event => self.on_swarm_event(event, Instant::now()),
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
