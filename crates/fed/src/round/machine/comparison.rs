//! Comparison of records after a start: this node signs nothing before its records were compared with others. The data
//! directory may be an old copy that does not know this node's newest contribution. A second contribution on the same parent
//! would convict this node, although it is honest.

use std::collections::BTreeSet;

use crate::id::{Instant, NodeId};
use crate::round::Comparing;
use crate::round::machine::Machine;

impl Machine {
    /// Notes that all records that this node lacked and `with` holds have been taken in.
    pub(in crate::round) fn compared(&mut self, with: NodeId) {
        if !self.comparison.done && with != self.rules.config.node && self.rules.spec.admits(&with) {
            self.comparison.with.insert(with);
            self.dirty.round = true;
        }
    }

    /// Notes the peers that are connected now.
    pub(in crate::round) fn reachable(&mut self, peers: &BTreeSet<NodeId>) {
        // Any peer may be connected in an open model, and most of them have not joined the model.
        if self.rules.is_list && !self.comparison.done {
            let members = peers.iter().filter(|node| self.rules.spec.admits(node));
            self.comparison.reachable = members.copied().collect();
            self.dirty.round = true;
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
