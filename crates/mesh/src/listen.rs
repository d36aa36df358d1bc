//! The places to listen at: hosts that this machine has, a port that is free for TCP and QUIC, and announced addresses.

use std::net::{IpAddr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use socket2::{Domain, Socket, Type};

use super::address;
use super::error::MeshError;

/// Ports tried when the system picks one; it must be free for TCP and for UDP.
const PORT_TRIES_MAX: usize = 32;

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
pub(super) fn present(hosts: &[IpAddr]) -> Result<Vec<IpAddr>, MeshError> {
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

/// A transport of the mesh, by the sockets that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// QUIC, over UDP.
    Udp,
}

/// Tries to listen at an address, and stops at once. Returns the reason why a mesh could not listen there.
pub fn try_listen(host: IpAddr, port: u16, transport: Transport) -> std::io::Result<()> {
    let kind = match transport {
        Transport::Tcp => Type::STREAM,
        Transport::Udp => Type::DGRAM,
    };
    bind(host, port, kind).map(drop)
}

/// Returns a port that is free for TCP and UDP at every address. libp2p's own sockets share ports (`SO_REUSEPORT`): a second
/// node would start without an error and get half of the first one's connections. Plain sockets do not share a port, so they
/// try it first.
pub(super) fn free_port(hosts: &[IpAddr], port: u16) -> Result<u16, MeshError> {
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
pub(super) fn expected(hosts: &[IpAddr], port: u16) -> Vec<Multiaddr> {
    // The list is only for the wait in `Actor::listen`: an address that is missing from it is not waited for.
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
