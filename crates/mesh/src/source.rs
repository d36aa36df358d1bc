//! The source of a connection: its IP address, or the part of the address that its owner cannot choose freely.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Bits of an IPv6 address that name a customer. The customer chooses the other half freely.
const HOST_BITS_V6: u32 = 64;

/// Bits of an address that name a network: the largest one that a site is usually given.
const NETWORK_BITS_V4: u32 = 24;
const NETWORK_BITS_V6: u32 = 48;

/// Returns the IP address that a connection comes from; `None` for a connection that is not over IP. An IPv4 address that is
/// mapped into IPv6 is returned as IPv4.
pub fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

/// Returns the host of an address: the whole IPv4 address, or the first 64 bits of an IPv6 address.
pub fn host(ip: IpAddr) -> IpAddr {
    first_bits(ip, 32, HOST_BITS_V6)
}

/// Returns the network of an address: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
pub fn network(ip: IpAddr) -> IpAddr {
    first_bits(ip, NETWORK_BITS_V4, NETWORK_BITS_V6)
}

fn first_bits(ip: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - v4)))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - v6)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_ipv4_address_or_the_half_of_an_ipv6_one_that_is_given() {
        let host_of = |text: &str| host(ip(&text.parse().unwrap()).unwrap()).to_string();
        assert_eq!(host_of("/ip4/192.0.2.7/tcp/1"), "192.0.2.7");
        assert_eq!(host_of("/ip6/::ffff:192.0.2.7/tcp/1"), "192.0.2.7");
        assert_eq!(host_of("/ip6/2001:db8:1:2:3:4:5:6/udp/1/quic-v1"), "2001:db8:1:2::");
        let network_of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network_of("192.0.2.7"), "192.0.2.0");
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(ip(&"/memory/7".parse().unwrap()), None);
    }
}
