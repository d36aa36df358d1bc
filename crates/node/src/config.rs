//! A node's resolved settings.

use std::collections::BTreeSet;
use std::path::PathBuf;

use qres_fed::id::NodeId;

use crate::mesh::MeshConfig;
use crate::store::Quota;

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
    /// Nodes whose models `join` may name by a bare name.
    pub creators: BTreeSet<NodeId>,
    /// Nodes whose word is taken in open models: what they stand on is adopted by its digest where it cannot be recomputed.
    pub trust: BTreeSet<NodeId>,
    /// Rounds kept below the newest settled one; `None` = all of them.
    pub keep_rounds: Option<u64>,
    /// Refuse new blobs above this many bytes in all.
    pub blob_bytes_max: Quota,
    /// Refuse a new model's file whose header is longer: [`HEADER_BYTES_MAX`] unless somebody says otherwise.
    pub header_bytes_max: u64,
}

/// 16 MiB: three times the header of the most tensors that a model may have (65,536), with names of 16 letters.
pub const HEADER_BYTES_MAX: u64 = 16 << 20;
