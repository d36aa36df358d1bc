//! The mesh's settings.

use std::net::IpAddr;
use std::path::PathBuf;

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
    /// The address to listen on (TCP and QUIC).
    pub listen: IpAddr,
    /// One port number for both; 0 picks one.
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
}
