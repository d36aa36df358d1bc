//! Conditions of a model that an operator should know now: why this node does not contribute, or why its work does not count.

use crate::id::ProofId;
use crate::round::machine::Machine;

/// Number of rounds above the newest settled checkpoint from which on the operator is
/// told. A healthy model settles within a few rounds.
const UNSETTLED_TOLD: u64 = 32;
/// Number of rounds above the newest settled checkpoint at which this node seals no more. All these rounds are kept, because
/// each of them may still lose: their records in memory, and their weights on the disk.
const UNSETTLED_MAX: u64 = 1_024;

/// Conditions of a model on this node. All is well if each of them is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Set if this node is convicted: the other members leave its work out for good.
    pub convicted: Option<Convicted>,
    /// Set while this node signs nothing, because the comparison after the start is not over.
    pub comparing: Option<Comparing>,
    /// Set if no quorum has settled the newest rounds.
    pub unsettled: Option<Unsettled>,
}

/// Conviction of this node, because it signed two contributions on one parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node is convicted{}: it signed two contributions on one parent (an old backup, or two copies of its data directory?), \
     so all members refuse its work for good. Give the node a new identity.key, and have the creator make a successor of the \
     model that lists the new id",
    .proof.map(|id| format!(" by proof {id}")).unwrap_or_default()
)]
pub struct Convicted {
    /// The proof, if this node holds it. Other nodes may have forgotten the proof once
    /// their confirmed head had convicted this node.
    pub proof: Option<ProofId>,
}

/// Progress of the comparison after a start. This node signs nothing before its records were compared with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparing {
    /// Number of other nodes that this node has compared its records with since the start.
    pub compared: usize,
    /// Number of other nodes needed. In a list they make a quorum together with this node.
    pub needed: usize,
}

/// Warning that rounds go on while most members do not take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Number of rounds above the newest settled checkpoint.
    pub rounds: u64,
    /// Number of such rounds at which this node seals no more.
    pub limit: u64,
}

impl Machine {
    /// Number of rounds of the head's branch above its newest settled checkpoint.
    fn unsettled_rounds(&self) -> u64 {
        self.chain.round().saturating_sub(self.settled_round())
    }

    /// Returns true if [`UNSETTLED_MAX`] rounds wait for a quorum, so that this node makes no more.
    pub(in crate::round) fn is_far_ahead(&self) -> bool {
        self.unsettled_rounds() >= UNSETTLED_MAX
    }

    /// The [`Conditions`] that an operator should know now.
    pub fn conditions(&self) -> Conditions {
        let rounds = self.unsettled_rounds();
        Conditions {
            convicted: self.own_conviction(),
            comparing: self.comparing(),
            unsettled: (rounds >= UNSETTLED_TOLD).then_some(Unsettled {
                rounds,
                limit: UNSETTLED_MAX,
            }),
        }
    }
}
