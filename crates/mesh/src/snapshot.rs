//! What can be asked of the mesh without asking its task.

use std::collections::BTreeMap;
use std::time::Duration;

use qres_fed::id::NodeId;

/// The mesh as it stands.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Peers connected and admitted, and their round-trip times once measured.
    pub connected: BTreeMap<NodeId, Option<Duration>>,
    /// Own addresses.
    pub listen: Vec<String>,
}
