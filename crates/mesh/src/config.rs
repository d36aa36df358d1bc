//! The mesh's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::gossip::Degree;
use super::handshakes::HandshakeLimits;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Runs beside trainers.
    Node,
    /// Helps others find each other: Kademlia server, forwards gossip, joins no model.
    Bootstrap,
}

/// Resolved settings of the mesh.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// What this node is for.
    pub mode: Mode,
    /// The addresses to listen on (TCP and QUIC). Of `0.0.0.0` and `::` one may be missing on this machine.
    pub listen: Vec<IpAddr>,
    /// One port number for all; 0 picks one.
    pub port: u16,
    /// `--bootstrap`: IPs, `host[:port]`s or multiaddrs.
    pub bootstrap: Vec<String>,
    /// Multiaddrs others can reach this node at, besides those it sees itself.
    pub announce: Vec<String>,
    /// Nodes of two networks refuse each other. Default `qres`.
    pub network: String,
    /// Routing hints are kept in this file.
    pub hints: PathBuf,
    /// e.g. `qres-daemon/0.1.0`.
    pub agent: String,
    /// Connections in all. Default 256.
    pub connections_max: u32,
    /// Dial peers that are known until this many are connected; more may come in by themselves. Default 32: up to that size
    /// a swarm is a full mesh, beyond it gossip's degree (8) and Kademlia's buckets have more than enough to choose from.
    pub peers_target: usize,
    /// Periods and deadlines.
    pub timings: Timings,
    /// What only tests change.
    #[doc(hidden)]
    pub overrides: Overrides,
}

impl MeshConfig {
    /// The defaults: every interface, port 4001, network `qres`, nobody to dial.
    pub fn new(mode: Mode, hints: PathBuf) -> Self {
        Self {
            mode,
            listen: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: super::address::PORT_DEFAULT,
            bootstrap: Vec::new(),
            announce: Vec::new(),
            network: "qres".to_owned(),
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
    /// How often due work is looked for. Default 200 ms.
    pub tick: Duration,
    /// A new connection must have said hello within this. Default 5 s.
    pub hello: Duration,
    /// An inbound connection must be encrypted and multiplexed within this. Default 10 s, as a dial.
    pub handshake: Duration,
    /// Between a goodbye and closing the connection, so that the other side can read it. Default 1 s.
    pub goodbye: Duration,
    /// First wait before dialling again; it doubles with every failure. Default 1 s.
    pub dial_wait_min: Duration,
    /// Longest wait before dialling again. Default 60 s.
    pub dial_wait_max: Duration,
    /// A dial must succeed within this. Default 10 s.
    pub dial: Duration,
    /// Wait before dialling a peer that refused or was refused. Default 5 min.
    pub refused_wait: Duration,
    /// First wait between two Kademlia lookups; it doubles while nothing new is found. Default 500 ms.
    pub lookup_wait_min: Duration,
    /// Longest wait between two lookups. Default 60 s.
    pub lookup_wait_max: Duration,
    /// Shortest heartbeat period; it grows with the swarm (a node hears at most 20 heartbeats a second). Default 5 s.
    pub heartbeat_min: Duration,
    /// At least this between two heartbeats, however often heads change. Default 1 s.
    pub heartbeat_gap: Duration,
    /// A neighbour that is silent for this many of its own heartbeat periods is reconnected. Default 4.
    pub watchdog_periods: u32,
    /// GossipSub's own heartbeat. Default 1 s.
    pub gossip_tick: Duration,
    /// Between two pings. Default 15 s.
    pub ping: Duration,
    /// A stream must be open within this. Default 5 s.
    pub open: Duration,
    /// A message that nobody could take is kept for this long. Default 60 s.
    pub publish_keep: Duration,
    /// Routing hints are written at most this often. Default 10 s.
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

/// What only tests change: how this node would look if it were of another version, or broken.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Overrides {
    /// Swarm protocol majors spoken, lowest and highest.
    pub majors: (u32, u32),
    /// As shown to people.
    pub protocol: String,
    /// GossipSub frames above this kill a link (facts: the whole read buffer is measured, not the frame).
    pub gossip_frame_bytes_max: usize,
    /// How many neighbours messages are forwarded to.
    pub gossip_degree: Degree,
    /// Events that wait for the engine.
    pub events_max: usize,
    /// Inbound handshakes under way.
    pub handshakes: HandshakeLimits,
    /// TCP gets through in neither direction, and nobody is told.
    pub tcp_drops: bool,
    /// Connections within this machine are held to no bound of a host's.
    pub loopback_is_free: bool,
}

impl Default for Overrides {
    fn default() -> Self {
        Self {
            majors: (super::hello::MAJOR, super::hello::MAJOR),
            protocol: super::hello::PROTOCOL.to_owned(),
            gossip_frame_bytes_max: super::gossip::FRAME_BYTES_MAX,
            gossip_degree: super::gossip::DEGREE,
            events_max: super::actor::EVENTS_MAX,
            handshakes: super::handshakes::HANDSHAKES,
            tcp_drops: false,
            loopback_is_free: true,
        }
    }
}
