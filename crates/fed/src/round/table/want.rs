//! A blob that is to be fetched.

use std::collections::BTreeSet;

use crate::id::NodeId;
use crate::record::BlobRole;

/// A blob to fetch, with the nodes that should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::round) struct Want {
    pub bytes: Option<u64>,
    pub role: BlobRole,
    pub holders: BTreeSet<NodeId>,
}
