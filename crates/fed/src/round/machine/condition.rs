//! Conditions of a model that an operator should know now: why this node does not contribute, or why its work does not count.

use crate::round::machine::Machine;
use crate::round::{Conditions, Unsettled};

/// Number of rounds above the newest settled checkpoint from which on the operator is
/// told. A healthy model settles within a few rounds.
const UNSETTLED_TOLD: u64 = 32;
/// Number of rounds above the newest settled checkpoint at which this node seals no more. All these rounds are kept, because
/// each of them may still lose: their records in memory, and their weights on the disk.
const UNSETTLED_MAX: u64 = 1_024;

impl Machine {
    /// Returns true if [`UNSETTLED_MAX`] rounds wait for a quorum, so that this node makes no more.
    pub(in crate::round) fn is_far_ahead(&self) -> bool {
        self.history.unsettled_rounds() >= UNSETTLED_MAX
    }

    /// The [`Conditions`] that an operator should know now.
    pub fn conditions(&self) -> Conditions {
        let rounds = self.history.unsettled_rounds();
        Conditions {
            convicted: self.history.own_conviction(&self.rules),
            comparing: self.comparing(),
            unsettled: (rounds >= UNSETTLED_TOLD).then_some(Unsettled {
                rounds,
                limit: UNSETTLED_MAX,
            }),
        }
    }
}
