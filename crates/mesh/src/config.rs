//! The mesh's settings.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::pnet::PreSharedKey;
use tokio::sync::watch;

use super::address::PORT_DEFAULT;
use super::gossip::{DEGREE, Degree};
use super::handshakes::{HANDSHAKES, HandshakeLimits};
use super::hello::{MAJOR, PROTOCOL};
use super::limits::{EVENTS_MAX, GOSSIP_FRAME_BYTES_MAX};
use super::resolver::Hosts;

/// The role of a node in the swarm, part of its [`MeshConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A node that runs beside trainers.
    Node,
    /// A node that helps others find each other: it serves Kademlia, forwards gossip and joins no model.
    Bootstrap,
}

/// Resolved settings of the mesh.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// The [`Mode`] of this node: beside trainers, or bootstrap.
    pub mode: Mode,
    /// IP addresses to listen on, with TCP and QUIC. If this machine has no IPv4 or no IPv6, `0.0.0.0` or `::` is left out.
    pub listen: Vec<IpAddr>,
    /// The port number for all addresses and transports; 0 lets the system pick one.
    pub port: u16,
    /// The addresses given with `--bootstrap`: IPs, `host[:port]`s or multiaddrs.
    pub bootstrap: Vec<String>,
    /// Multiaddrs at which others can reach this node, besides the ones that it sees itself.
    pub announce: Vec<String>,
    /// The network's name: nodes of two networks refuse each other. Default `qres`.
    pub network: String,
    /// The key that all nodes of the network share: connections from and to others fail before a byte of theirs is read. It
    /// works over TCP alone, so QUIC is then off. `None` = every peer that has an address may connect.
    pub network_key: Option<PreSharedKey>,
    /// The only peers that are let in; `None` = all.
    pub allowed: Option<BTreeSet<PeerId>>,
    /// The file that keeps the routing hints.
    pub hints: PathBuf,
    /// The software's name and version for other nodes, e.g. `qres-daemon/0.1.0`.
    pub agent: String,
    /// The largest number of connections. Default 256.
    pub connections_max: u32,
    /// This node dials known peers until this many are connected; more may come in by themselves. Default 32: up to that size
    /// a swarm is a full mesh, and beyond it gossip's degree (8) and Kademlia's buckets have more than enough peers to choose
    /// from.
    pub peers_target: usize,
    /// Periods and deadlines, see [`Timings`].
    pub timings: Timings,
    /// Settings that only tests change, see [`Overrides`].
    #[doc(hidden)]
    pub overrides: Overrides,
}

impl MeshConfig {
    /// Returns the defaults: every interface, port 4001, network `qres`, no bootstrap address.
    pub fn new(mode: Mode, hints: PathBuf) -> Self {
        Self {
            mode,
            listen: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: PORT_DEFAULT,
            bootstrap: Vec::new(),
            announce: Vec::new(),
            network: "qres".to_owned(),
            network_key: None,
            allowed: None,
            hints,
            agent: concat!("qres-node/", env!("CARGO_PKG_VERSION")).to_owned(),
            connections_max: 256,
            peers_target: 32,
            timings: Timings::default(),
            overrides: Overrides::default(),
        }
    }
}

/// Periods and deadlines of the mesh.
#[derive(Debug, Clone)]
pub struct Timings {
    /// Period of the actor's tick, which starts work that is due. Default 200 ms.
    pub tick: Duration,
    /// Deadline for the hello on a new connection. Default 5 s.
    pub hello: Duration,
    /// Deadline for an inbound connection to be encrypted and multiplexed. Default 10 s, the same as for a dial.
    pub handshake: Duration,
    /// Time between a goodbye and closing the connection, so that the other side can read it. Default 1 s.
    pub goodbye: Duration,
    /// First wait before a peer is dialled again; it doubles with every failure. Default 1 s.
    pub dial_wait_min: Duration,
    /// Longest wait before a peer is dialled again. Default 60 s.
    pub dial_wait_max: Duration,
    /// Deadline for a dial. Default 10 s.
    pub dial: Duration,
    /// Wait before dialling a peer that refused this node or that this node refused. Default 5 min.
    pub refused_wait: Duration,
    /// First wait between two Kademlia lookups; it doubles while no new peer is found. Default 500 ms.
    pub lookup_wait_min: Duration,
    /// Longest wait between two Kademlia lookups. Default 60 s.
    pub lookup_wait_max: Duration,
    /// Shortest heartbeat period; the period grows with the swarm (a node hears at most 20 heartbeats a second). Default 5 s.
    pub heartbeat_min: Duration,
    /// Shortest time between two heartbeats while heads change. Default 1 s.
    pub heartbeat_gap: Duration,
    /// Number of a neighbour's own heartbeat periods that it may be silent before this node reconnects to it. Default 4.
    pub watchdog_periods: u32,
    /// Period of gossipsub's own heartbeat. Default 1 s.
    pub gossip_tick: Duration,
    /// Time between two pings. Default 15 s.
    pub ping: Duration,
    /// Deadline for opening a stream. Default 5 s.
    pub open: Duration,
    /// Time for which a message is kept that no peer could take when it was published. Default 60 s.
    pub publish_keep: Duration,
    /// Shortest time between two writes of the routing hints, once 16 peers are saved. Default 10 s.
    pub hints_save: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(200),
            hello: Duration::from_secs(5),
            handshake: Duration::from_secs(10),
            goodbye: Duration::from_secs(1),
            dial_wait_min: Duration::from_secs(1),
            dial_wait_max: Duration::from_mins(1),
            dial: Duration::from_secs(10),
            refused_wait: Duration::from_mins(5),
            lookup_wait_min: Duration::from_millis(500),
            lookup_wait_max: Duration::from_mins(1),
            heartbeat_min: Duration::from_secs(5),
            heartbeat_gap: Duration::from_secs(1),
            watchdog_periods: 4,
            gossip_tick: Duration::from_secs(1),
            ping: Duration::from_secs(15),
            open: Duration::from_secs(5),
            publish_keep: Duration::from_mins(1),
            hints_save: Duration::from_secs(10),
        }
    }
}

/// Settings that only tests change. They make this node look as if it were of another version, or broken.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Overrides {
    /// Lowest and highest major version of the swarm protocol that this node speaks.
    pub majors: (u32, u32),
    /// Version of the swarm protocol as people see it, e.g. `10.0`.
    pub protocol: String,
    /// Largest gossipsub frame in bytes. A larger one breaks a link (gossipsub measures its whole read buffer, not the
    /// frame).
    pub gossip_frame_bytes_max: usize,
    /// Number of neighbours that messages are forwarded to, see [`Degree`].
    pub gossip_degree: Degree,
    /// Number of events that may wait for the layer above.
    pub events_max: usize,
    /// Limits on inbound handshakes that are under way, see [`HandshakeLimits`].
    pub handshakes: HandshakeLimits,
    /// Drops TCP in both directions without an error, as some firewalls do.
    pub tcp_drops: bool,
    /// Exempts connections within this machine from the limits per host and per network.
    pub loopback_is_free: bool,
    /// A table of host names that stands in for the machine's resolver.
    pub hosts: Option<watch::Receiver<Hosts>>,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            majors: (MAJOR, MAJOR),
            protocol: PROTOCOL.to_owned(),
            gossip_frame_bytes_max: GOSSIP_FRAME_BYTES_MAX,
            gossip_degree: DEGREE,
            events_max: EVENTS_MAX,
            handshakes: HANDSHAKES,
            tcp_drops: false,
            loopback_is_free: true,
            hosts: None,
        }
    }
}
