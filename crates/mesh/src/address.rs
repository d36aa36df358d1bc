//! Addresses: reading what people write, and choosing those of a peer's claimed addresses that are worth dialling.

use std::net::{IpAddr, Ipv6Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use super::error::MeshError;

/// The mesh's port when an address names none.
pub const PORT_DEFAULT: u16 = 4001;

/// Addresses kept for one peer: TCP and QUIC at eight IP addresses, IPv4 and IPv6 together. A list without a bound is a
/// memory leak (Gitlawb/node#429).
pub const ADDRESSES_MAX: usize = 16;

/// Longest address text in bytes that is taken from a person or a file: a DNS name has at most 253 characters.
const ADDRESS_TEXT_MAX: usize = 512;

/// A place to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The peer's id, if the address names it.
    pub peer: Option<PeerId>,
    /// Addresses without the `/p2p` part, preferred ones first: TCP, then QUIC.
    pub addresses: Vec<Multiaddr>,
}

/// Reads `IP`, `IP:port`, `host`, `host:port`, `[IPv6]:port` or a multiaddr, and returns the [`Target`] to dial.
pub fn parse(text: &str) -> Result<Target, MeshError> {
    let text = text.trim();
    let fail = || MeshError::Address(text.chars().take(80).collect());
    if text.is_empty() || text.len() > ADDRESS_TEXT_MAX {
        return Err(fail());
    }
    if text.starts_with('/') {
        let address: Multiaddr = text.parse().map_err(|_| fail())?;
        let (peer, address) = split_peer(address).ok_or_else(fail)?;
        return if is_dialable(&address) {
            Ok(Target {
                peer,
                addresses: vec![address],
            })
        } else {
            Err(fail())
        };
    }
    if let Some((ip, port)) = two_ways(text) {
        return Err(MeshError::AddressOrPort(ip, port));
    }
    let (host, port) = split_port(text).ok_or_else(fail)?;
    let base = match host.parse::<IpAddr>() {
        Ok(ip) => Protocol::from(ip),
        Err(_) if is_host(host) => Protocol::Dns(host.to_ascii_lowercase().into()),
        Err(_) => return Err(fail()),
    };
    Ok(Target {
        peer: None,
        addresses: both(&base, port),
    })
}

/// Returns the peer with this id as text, or `None` if the text is no peer id of a node.
pub fn check_peer(id: &str) -> Option<PeerId> {
    qres_wire::identity::peer_id(&qres_wire::identity::parse(id)?)
}

/// Checks that this node can dial an address, as far as that shows without a DNS query or a connection.
pub fn check_address(text: &str) -> Result<(), MeshError> {
    parse(text).map(|_| ())
}

/// Returns host and port of an address that a person wrote, and true if TCP reaches it (a multiaddr may name QUIC alone). Returns
/// `None` for a text that is no address.
pub fn host_and_port(text: &str) -> Option<(String, u16, bool)> {
    let target = parse(text).ok()?;
    let address = target.addresses.first()?;
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => ip.to_string(),
        Protocol::Ip6(ip) => ip.to_string(),
        Protocol::Dns(host) | Protocol::Dns4(host) | Protocol::Dns6(host) => host.into_owned(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some((host, port, true)),
        Protocol::Udp(port) => Some((host, port, false)),
        _ => None,
    }
}

/// Returns the TCP and the QUIC address of one host and port.
pub fn both(host: &Protocol<'_>, port: u16) -> Vec<Multiaddr> {
    vec![
        Multiaddr::empty().with(host.clone()).with(Protocol::Tcp(port)),
        Multiaddr::empty()
            .with(host.clone())
            .with(Protocol::Udp(port))
            .with(Protocol::QuicV1),
    ]
}

/// Reads an ambiguous text: an IPv6 address that, without its last part, is one too, and whose last part can be a port
/// (`2001:db8::1:4001`).
fn two_ways(text: &str) -> Option<(Ipv6Addr, u16)> {
    text.parse::<Ipv6Addr>().ok()?;
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((host.parse().ok()?, port))
}

fn split_port(text: &str) -> Option<(&str, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => rest.is_empty().then_some((host, PORT_DEFAULT)),
        };
    }
    match text.split_once(':') {
        None => Some((text, PORT_DEFAULT)),
        // The text has more than one colon, so it is an IPv6 address without a port.
        Some(_) if text.parse::<IpAddr>().is_ok() => Some((text, PORT_DEFAULT)),
        Some((host, port)) => Some((host, port.parse().ok().filter(|p| *p != 0)?)),
    }
}

/// Returns true for an RFC 1123 host name. A name of only digits and dots is a mistyped IPv4 address.
fn is_host(host: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let named = host.bytes().any(|b| b.is_ascii_alphabetic());
    named && host.len() <= 253 && host.trim_end_matches('.').split('.').all(label)
}

/// Takes off a trailing `/p2p/<peer>`. Returns `None` if there is one in the middle, which means a relay: this node speaks no
/// relay protocol.
pub fn split_peer(mut address: Multiaddr) -> Option<(Option<PeerId>, Multiaddr)> {
    let peer = match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            Some(peer)
        }
        _ => None,
    };
    let clean = !address
        .iter()
        .any(|p| matches!(p, Protocol::P2p(_) | Protocol::P2pCircuit));
    clean.then_some((peer, address))
}

/// Returns true if this node has a transport for the address, and if it names a host that can be reached.
pub fn is_dialable(address: &Multiaddr) -> bool {
    let parts: Vec<_> = address.iter().collect();
    let host = matches!(
        parts.first(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    let transport = matches!(
        parts.get(1..),
        Some([Protocol::Tcp(1..)] | [Protocol::Udp(1..), Protocol::QuicV1])
    );
    host && transport && !ip(address).is_some_and(|ip| ip.is_unspecified() || ip.is_multicast() || is_link_local(ip))
}

/// Returns true if an IPv6 address has a meaning on one network card only; an address here cannot say which card that is.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Returns true for an address of QUIC.
pub fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

/// Returns true if the address is a TCP address.
pub fn is_tcp(address: &Multiaddr) -> bool {
    address.iter().any(|p| matches!(p, Protocol::Tcp(_)))
}

/// Returns the IP in the address, if it has one.
pub fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(ip.to_canonical()),
        _ => None,
    }
}

/// The distance from which an address can be reached, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// From this host only.
    Loopback,
    /// From this network: RFC 1918, RFC 6598, link-local, unique local.
    Private,
    /// From everywhere. DNS names count as global, since their owner chose to publish them.
    Global,
}

/// Returns the [`Reach`] of an address.
pub fn reach(address: &Multiaddr) -> Reach {
    match ip(address) {
        None => Reach::Global,
        Some(ip) if ip.is_loopback() => Reach::Loopback,
        Some(IpAddr::V4(ip)) => {
            let shared = ip.octets()[0] == 100 && (ip.octets()[1] & 0xc0) == 64;
            if ip.is_private() || ip.is_link_local() || shared {
                Reach::Private
            } else {
                Reach::Global
            }
        }
        Some(IpAddr::V6(ip)) => {
            if ip.is_unique_local() || ip.is_unicast_link_local() {
                Reach::Private
            } else {
                Reach::Global
            }
        }
    }
}

/// Returns the sort key of an address: wider [`Reach`] first, then by IP, TCP before QUIC. The two addresses of a host stay
/// side by side, so a list that is cut short keeps both.
pub fn preference(address: &Multiaddr) -> impl Ord + use<> {
    (std::cmp::Reverse(reach(address)), ip(address), !is_tcp(address))
}

/// Selects the addresses worth keeping from those that a peer claims. A peer that is seen over the Internet cannot be met at
/// its loopback or private addresses; one on this host can be met at all of them. The address at which this node reached the
/// peer comes first, then the others by [`preference`]. At most [`ADDRESSES_MAX`] are kept.
pub fn select(peer: &PeerId, claimed: &[Multiaddr], dialled: Option<&Multiaddr>, seen: Reach) -> Vec<Multiaddr> {
    let mut selected: Vec<Multiaddr> = Vec::new();
    let mut candidates: Vec<Multiaddr> = claimed
        .iter()
        .take(64)
        .filter_map(|a| split_peer(a.clone()))
        .filter(|(named, a)| named.is_none_or(|n| n == *peer) && is_dialable(a) && reach(a) >= seen)
        .map(|(_, a)| a)
        .collect();
    candidates.sort_by_key(preference);
    let dialled = dialled.and_then(|a| split_peer(a.clone())).map(|(_, a)| a);
    for address in dialled.into_iter().chain(candidates) {
        if selected.len() < ADDRESSES_MAX && !selected.contains(&address) {
            selected.push(address);
        }
    }
    selected
}

/// Returns true if `bare` contains the address without its peer id.
pub fn is_one_of(address: &Multiaddr, bare: &[Multiaddr]) -> bool {
    split_peer(address.clone()).is_some_and(|(_, address)| bare.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(target: &Target) -> Vec<String> {
        target.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn host_and_port_are_read_from_all_forms() {
        for (text, want) in [
            ("::1", ("::1", 4001, true)),
            ("boot.example:5000", ("boot.example", 5000, true)),
            ("/dns4/boot/tcp/7", ("boot", 7, true)),
            ("/ip4/10.0.0.7/udp/7/quic-v1", ("10.0.0.7", 7, false)),
        ] {
            let (host, port, tcp) = host_and_port(text).unwrap();
            assert_eq!((host.as_str(), port, tcp), want, "{text}");
        }
        assert_eq!(host_and_port("a b"), None);
    }

    #[test]
    fn what_people_write_is_read() {
        for (text, want) in [
            ("10.0.0.7", "/ip4/10.0.0.7/tcp/4001"),
            ("10.0.0.7:5000", "/ip4/10.0.0.7/tcp/5000"),
            ("::1", "/ip6/::1/tcp/4001"),
            ("[::1]:5000", "/ip6/::1/tcp/5000"),
            ("[::1]", "/ip6/::1/tcp/4001"),
            ("Boot.example.org", "/dns/boot.example.org/tcp/4001"),
            ("boot:5000", "/dns/boot/tcp/5000"),
        ] {
            let target = parse(text).unwrap();
            assert_eq!(texts(&target)[0], want, "{text}");
            assert_eq!(target.addresses.len(), 2, "TCP and QUIC for {text}");
            assert_eq!(target.peer, None);
        }
        let peer = PeerId::random();
        let target = parse(&format!("/dns4/boot/udp/4001/quic-v1/p2p/{peer}")).unwrap();
        assert_eq!(
            (target.peer, texts(&target)),
            (Some(peer), vec!["/dns4/boot/udp/4001/quic-v1".to_owned()])
        );
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in [
            "",
            " ",
            "10.0.0",
            "10.0.0.256",
            "host:0",
            "host:70000",
            "host:port",
            "-a.b",
            "a..b",
            "[::1",
            "[::1]x",
            "a b",
            "/ip4/10.0.0.7",
            "/ip4/10.0.0.7/udp/4001",
            "/ip4/0.0.0.0/tcp/4001",
            "/ip4/10.0.0.7/tcp/4001/ws",
            "/ip4/10.0.0.7/tcp/4001/p2p/12D3KooWGQmdpzHXCqLno4mMxWXKNFQHASBeF99gTm2JR8Vu5Bdc/p2p-circuit",
            "/x",
        ] {
            assert!(matches!(parse(text), Err(MeshError::Address(_))), "{text:?} was taken");
        }
        let refused = parse("2001:db8::1:4001").unwrap_err().to_string();
        assert!(
            refused.ends_with("write [2001:db8::1]:4001 or [2001:db8::1:4001]"),
            "{refused}"
        );
        assert_eq!(
            texts(&parse("[2001:db8::1:4001]").unwrap())[0],
            "/ip6/2001:db8::1:4001/tcp/4001"
        );
        assert!(parse(&"a".repeat(600)).is_err());
    }

    #[test]
    fn a_peer_on_the_internet_is_not_sought_at_its_private_addresses() {
        let peer = PeerId::random();
        let claimed: Vec<Multiaddr> = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip4/8.8.8.8/udp/1/quic-v1",
            "/ip4/192.168.1.1/tcp/1",
            "/ip4/8.8.8.8/tcp/1",
        ]
        .iter()
        .map(|a| a.parse().unwrap())
        .collect();
        let selected = |seen| -> Vec<String> {
            select(&peer, &claimed, None, seen)
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(
            selected(Reach::Global),
            ["/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1"]
        );
        assert_eq!(selected(Reach::Private).len(), 3);
        assert_eq!(selected(Reach::Loopback).len(), 4);
    }

    #[test]
    fn no_peer_fills_the_table_with_addresses_or_points_at_another() {
        let peer = PeerId::random();
        let many: Vec<Multiaddr> = (1..200)
            .map(|p| format!("/ip4/8.8.8.8/tcp/{p}").parse().unwrap())
            .collect();
        assert_eq!(select(&peer, &many, None, Reach::Global).len(), ADDRESSES_MAX);
        let other: Multiaddr = format!("/ip4/8.8.8.8/tcp/1/p2p/{}", PeerId::random()).parse().unwrap();
        assert!(select(&peer, &[other], None, Reach::Global).is_empty());
    }
}
