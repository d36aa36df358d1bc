//! The part of the mesh's state that callers can read without a round trip to its task.

use std::collections::BTreeMap;
use std::time::Duration;

use qres_fed::id::NodeId;

/// The connected peers and own addresses at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Peers that are connected and admitted, with their round-trip times once measured.
    pub connected: BTreeMap<NodeId, Option<Duration>>,
    /// This node's own addresses, as multiaddrs with its peer id.
    pub listen: Vec<String>,
}
