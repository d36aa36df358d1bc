//! Comparison of records after a start: this node signs nothing before its records were compared with others. The data
//! directory may be an old copy that does not know this node's newest contribution. A second contribution on the same parent
//! would convict this node, although it is honest.

use std::collections::BTreeSet;

use crate::id::{Instant, NodeId};
use crate::round::Comparing;
use crate::round::machine::Machine;

/// Number of nodes of an open model to compare with. An open model has no quorum, and a
/// second node may have heard what the first has not.
const OPEN_NEEDED: usize = 2;

impl Machine {
    /// Number of other nodes that this node compares its records with before it signs.
    pub(in crate::round) fn to_compare(is_list: bool, is_member: bool, quorum: usize) -> usize {
        match (is_list, is_member) {
            (_, false) => 0,
            (true, true) => quorum.saturating_sub(1),
            (false, true) => OPEN_NEEDED,
        }
    }

    /// Notes that all records that this node lacked and `with` holds have been taken in.
    pub(in crate::round) fn compared(&mut self, with: NodeId) {
        if !self.comparison.done && with != self.config.node && self.spec.admits(&with) {
            self.comparison.with.insert(with);
            self.round_dirty = true;
        }
    }

    /// Notes the peers that are connected now.
    pub(in crate::round) fn reachable(&mut self, peers: &BTreeSet<NodeId>) {
        // Any peer may be connected in an open model, and most of them have not joined the model.
        if self.is_list && !self.comparison.done {
            let members = peers.iter().filter(|node| self.spec.admits(node));
            self.comparison.reachable = members.copied().collect();
            self.round_dirty = true;
        }
    }

    /// Returns true if this node may sign.
    pub(in crate::round) fn may_sign(&mut self) -> bool {
        let now = self.now;
        self.comparison.check(now)
    }

    /// Time at which this node signs even if some nodes have not answered; `None` once it signs.
    pub(in crate::round) fn comparison_ends(&self) -> Option<Instant> {
        (!self.comparison.done).then(|| self.comparison.until())
    }

    /// The progress of the comparison, as [`Comparing`]; `None` once this node signs.
    pub(in crate::round) fn comparing(&self) -> Option<Comparing> {
        (!self.comparison.done).then_some(Comparing {
            compared: self.comparison.with.len(),
            needed: self.comparison.needed,
        })
    }
}
