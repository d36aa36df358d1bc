//! A node's resolved settings.

use std::collections::BTreeSet;
use std::path::PathBuf;

use qres_fed::id::NodeId;
pub use qres_fed::round::MembersPolicy;
use qres_mesh::MeshConfig;
use qres_store::Quota;

/// All settings that a node needs to start. Only the daemon reads files, environment variables and flags.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The directory of the identity, the records and the blobs.
    pub data_dir: PathBuf,
    /// A file with this node's key, which is copied into a data directory that has none.
    pub identity_file: Option<PathBuf>,
    /// The settings of the mesh.
    pub mesh: MeshConfig,
    /// The number of this node's trainers, at least 1: the node waits for that many before it merges their submissions.
    pub trainers: u32,
    /// Models to join as soon as they are known: `name`, `name@id` or a spec's id.
    pub join: Vec<String>,
    /// The nodes whose models [`NodeConfig::join`] may name by a bare name.
    pub creators: BTreeSet<NodeId>,
    /// The nodes that this node trusts in open models: it adopts the checkpoint on which such a node stands by its digest,
    /// where it cannot recompute the checkpoint.
    pub trust: BTreeSet<NodeId>,
    /// The number of rounds kept below the newest settled one; `None` keeps all of them.
    pub keep_rounds: Option<u64>,
    /// What this node does when other members want to change the list of members.
    pub members: MembersPolicy,
    /// The limit of all blobs together, in bytes: a new blob that would exceed it is refused.
    pub blob_bytes_max: Quota,
    /// The longest header, in bytes, of the file of a new model; a longer one is refused. The default is [`HEADER_BYTES_MAX`].
    pub header_bytes_max: u64,
}

/// The default limit of a header, 16 MiB: three times the header of the most tensors that a model may have (65,536), with names
/// of 16 letters.
pub const HEADER_BYTES_MAX: u64 = 16 << 20;
