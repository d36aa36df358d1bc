//! A node's resolved settings.

use std::path::PathBuf;

use crate::mesh::MeshConfig;

/// Everything a node needs to start. The daemon alone reads files, environment and flags.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where identity, records and blobs live.
    pub data_dir: PathBuf,
    /// The mesh.
    pub mesh: MeshConfig,
    /// Trainers of this node to wait for before their submissions are merged, at least 1.
    pub trainers: u32,
    /// Models to join as soon as they are known: `name`, `name@id` or a spec's id.
    pub join: Vec<String>,
    /// Rounds kept below the confirmed head; `None` = all of them.
    pub keep_rounds: Option<u64>,
    /// Refuse new blobs above this many bytes in all; `None` = until the disk is full.
    pub blob_bytes_max: Option<u64>,
}
