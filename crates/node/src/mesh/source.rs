//! Where a connection comes from: an address, or the part of one that its owner cannot choose freely.

use std::net::{IpAddr, Ipv6Addr};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Bits of an IPv6 address that name a customer: the other half is the customer's own to choose.
const HOST_BITS_V6: u32 = 64;

/// The IP address that a connection comes from; `None` when it is no IP connection. An IPv4 address in IPv6 clothes is IPv4.
pub fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

/// The host behind an address: an IPv4 address, or the first 64 bits of an IPv6 one.
pub fn host(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - HOST_BITS_V6)))),
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
        assert_eq!(ip(&"/memory/7".parse().unwrap()), None);
    }
}
