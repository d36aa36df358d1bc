//! Listening: one port number for TCP and QUIC, IPv4 and IPv6, and which addresses others are told.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, kad};
use socket2::{Domain, Socket, Type};

use super::actor::Actor;
use super::{MeshError, address};

/// Ports tried when the system shall pick one: it must be free for TCP and for UDP.
const PORT_TRIES_MAX: usize = 32;

/// A given port that is in use is tried again this often, and after this long each time.
const PORT_WAITS_MAX: u32 = 5;
const PORT_WAIT: Duration = Duration::from_millis(200);

/// The listeners have this long to say where they listen.
const LISTEN_WAIT_MAX: Duration = Duration::from_secs(5);

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

/// Of the addresses to listen on those that this machine has. A host without IPv6 (or IPv4) does without `::` (`0.0.0.0`), as long as
/// it can listen on another one.
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

/// A plain socket at an address, as libp2p's own: one for IPv6 leaves IPv4 alone, so that both can have one port number.
fn bind(host: IpAddr, port: u16, kind: Type) -> std::io::Result<Socket> {
    let address = SocketAddr::new(host, port);
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if host.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // Connections that a former run closed wait for a minute; they hold no port.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if kind == Type::STREAM {
        socket.listen(1)?;
    }
    Ok(socket)
}

/// A port that is free for TCP and UDP at every address. libp2p's own sockets share ports (`SO_REUSEPORT`): a second node would
/// start without an error and get half of the first one's connections, so plain sockets ask first.
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

/// Takes a port, and gives it back at once; 0 picks one.
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

/// The addresses that libp2p will report for these: where all of a machine's addresses are meant, those that its network cards have now.
fn expected(hosts: &[IpAddr], port: u16) -> Vec<Multiaddr> {
    // Only for the wait in `listen`: what cannot be listed is not waited for.
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
    /// Listens on TCP and QUIC, and waits until both do at all of this machine's addresses.
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
                // A network card that came or went meanwhile; a listener that has not said a word is a failure.
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

    /// The port to listen on. One that was just left may be held for another moment (QUIC drains its connections).
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

    /// A new address that we listen on: tell peers, nearest reach last.
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
