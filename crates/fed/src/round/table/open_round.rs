//! The round on the head that is open now.

use std::collections::BTreeSet;

use crate::id::{Instant, NodeId};
use crate::round::table::closing::Closing;

/// The round on the head, as this node's clock sees it.
#[derive(Debug, Default)]
pub(in crate::round) struct OpenRound {
    /// Time of the first known contribution on the head; the deadline runs from here.
    pub first: Option<Instant>,
    /// Time of the first submission of this node on the head; merging waits from here.
    pub submitted: Option<Instant>,
    /// True if an operator ended the wait.
    pub seal_now: bool,
    /// Set once the policy of the round is met.
    pub closing: Option<Closing>,
    /// Members that the round waited for while it was open.
    pub expected: BTreeSet<NodeId>,
}
