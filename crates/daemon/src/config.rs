//! The daemon's configuration: what was said ([`Settings`], from four layers) and what it means ([`Config`]).

mod announce;
mod error;
mod layer;
mod report;
mod resolve;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

pub use error::ConfigError;
pub use layer::{Layers, Origin};
pub use report::report;
pub use settings::{LogFormat, Mode, Settings};

use qres_node::store::Quota;

use crate::args::Args;

/// Environment variables by name, as given to the process.
pub type Environment = BTreeMap<String, String>;

/// How many confirmed rounds of checkpoints stay on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// All of them, for a full audit.
    All,
    /// The newest so many.
    Rounds(u64),
}

/// The resolved configuration: every value checked, every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What this node is for.
    pub mode: Mode,
    /// The mesh's port, TCP and UDP; 0 picks one.
    pub port: u16,
    /// The addresses the mesh listens on.
    pub listen: Vec<IpAddr>,
    /// Where other nodes are found first: IPs, `host[:port]`s or multiaddrs.
    pub bootstrap: Vec<String>,
    /// Multiaddrs at which others reach this node, templates filled in.
    pub announce: Vec<String>,
    /// Nodes of different networks refuse each other.
    pub network: String,
    /// The most connections to other nodes.
    pub connections_max: u32,
    /// Where gRPC listens: loopback, unless insecurity was asked for by name.
    pub grpc_addr: SocketAddr,
    /// Where identity, records and blobs live.
    pub data_dir: PathBuf,
    /// How many trainers' submissions the node waits for.
    pub trainers: u32,
    /// Models to join as soon as they are known.
    pub join: Vec<String>,
    /// Nodes whose word is taken in open models.
    pub trust: Vec<String>,
    /// Nodes whose models `join` may name by a bare name.
    pub creators: Vec<String>,
    /// What stays on disk.
    pub retention: Retention,
    /// The most bytes of blobs on disk.
    pub blob_bytes_max: Quota,
    /// The most bytes of the header of a new model's file.
    pub header_bytes_max: u64,
    /// What is logged: an `EnvFilter`.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Where Prometheus metrics are served; `None` = nowhere.
    pub metrics_addr: Option<SocketAddr>,
}

impl Config {
    /// Reads the layers that `args` and `env` name and resolves them; also answers with the layers, for the report.
    pub fn load(args: &Args, env: &Environment) -> Result<(Self, Layers), ConfigError> {
        let layers = Layers::read(args, env)?;
        let config = resolve::resolve(&layers, env)?;
        Ok((config, layers))
    }
}

#[cfg(test)]
mod tests;
