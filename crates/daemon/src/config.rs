//! The daemon's configuration: the settings as an operator gives them ([`Settings`], merged from four [`Layers`]) and the
//! checked result ([`Config`]).

mod announce;
mod error;
mod grpc;
mod layer;
mod load;
mod origin;
mod problems;
mod report;
mod resolve;
mod resolve_grpc;
mod setting;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub use crate::settings::{LogFormat, MembersChange, Mode, Settings};
pub use error::ConfigError;
pub use grpc::{GrpcConfig, SecurityFiles};
pub use layer::Layers;
#[cfg(test)]
pub use load::test_config;
pub use origin::Origin;
pub use problems::ConfigErrors;
pub use report::report;

use qres_node::store::Quota;

/// Environment variables of the process, by name.
pub type Environment = BTreeMap<String, String>;

/// Number of confirmed rounds whose checkpoints stay on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// All rounds stay, for a full audit.
    All,
    /// This many of the newest rounds stay.
    Rounds(u64),
}

/// The resolved configuration: every value checked, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The role of this node in the swarm.
    pub mode: Mode,
    /// The mesh's port, TCP and UDP; 0 picks one.
    pub port: u16,
    /// The addresses on which the mesh listens.
    pub listen: Vec<IpAddr>,
    /// Addresses of the nodes to connect to first: IPs, `host[:port]`s or multiaddrs.
    pub bootstrap: Vec<String>,
    /// Multiaddrs at which other nodes reach this node, templates filled in.
    pub announce: Vec<String>,
    /// Name of the swarm: nodes of different networks refuse each other.
    pub network: String,
    /// The file with the key that all nodes of the network share.
    pub network_key: Option<PathBuf>,
    /// Peer ids of the nodes that may connect; empty = all.
    pub allowed: Vec<String>,
    /// The most connections to other nodes.
    pub connections_max: u32,
    /// Where gRPC listens, who may call, and how much.
    pub grpc: GrpcConfig,
    /// The directory of identity, records and blobs; an absolute path.
    pub data_dir: PathBuf,
    /// A file with this node's key, which is copied into a data directory that has none.
    pub identity_file: Option<PathBuf>,
    /// Number of trainers whose submissions the node waits for before it contributes, 1 to 1,024.
    pub trainers: u32,
    /// Models to join as soon as they are known.
    pub join: Vec<String>,
    /// Peer ids of trusted nodes: in open models, checkpoints too old to recompute are accepted if one of these built on or
    /// sealed them.
    pub trust: Vec<String>,
    /// Peer ids of the nodes whose models `join` may name without an id.
    pub creators: Vec<String>,
    /// What the node does when other members want to change a model's list of members.
    pub members_change: MembersChange,
    /// The confirmed rounds whose checkpoints stay on disk.
    pub retention: Retention,
    /// The limit of the bytes of blobs on disk.
    pub blob_bytes_max: Quota,
    /// The most bytes of the header of a new model's safetensors file.
    pub header_bytes_max: u64,
    /// The filter of log lines, in the syntax of `EnvFilter`.
    pub log: String,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The address of the admin port (metrics, liveness, readiness); `None` if it is off.
    pub admin_addr: Option<SocketAddr>,
    /// The file of audit lines; `None` if only the log has them.
    pub audit_log: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
