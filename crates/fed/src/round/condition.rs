//! What an operator should know of a model right now: why this node does not contribute, or why its work does not count.

use super::machine::Machine;
use crate::id::ProofId;

/// Rounds above the newest settled checkpoint from which an operator is told: a healthy model settles within a few.
const UNSETTLED_TOLD: u64 = 32;
/// Rounds above the newest settled checkpoint at which this node seals no more. Everything above it is kept, as any of it may still
/// lose: records in memory, and the weights of every round on the disk.
const UNSETTLED_MAX: u64 = 1_024;

/// All is well where each is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The others leave this node's work out for good.
    pub convicted: Option<Convicted>,
    /// This node signs nothing yet.
    pub comparing: Option<Comparing>,
    /// No quorum has confirmed the newest rounds.
    pub unsettled: Option<Unsettled>,
}

/// This node signed two contributions on one parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node is convicted{}: it signed two contributions on one parent (an old backup, or two copies of its data directory?), \
     so all members refuse its work for good. Give the node a new identity.key, and have the creator make a successor of the \
     model that lists the new id",
    .proof.map(|id| format!(" by proof {id}")).unwrap_or_default()
)]
pub struct Convicted {
    /// The proof, where it is held. Others may have forgotten it once the chain had done its work.
    pub proof: Option<ProofId>,
}

/// After a start records are compared before anything is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparing {
    /// Others that were compared with since the start.
    pub compared: usize,
    /// So many make a quorum with this node.
    pub needed: usize,
}

/// Rounds go on, but most members do not take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Rounds above the newest settled checkpoint.
    pub rounds: u64,
    /// At so many no more are sealed.
    pub limit: u64,
}

impl Machine {
    /// Rounds of the head's branch above its newest settled checkpoint.
    fn unsettled_rounds(&self) -> u64 {
        self.chain.round().saturating_sub(self.settled_round())
    }

    /// Whether so many rounds wait for a quorum that no more are made.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.unsettled_rounds() >= UNSETTLED_MAX
    }

    /// What an operator should know now.
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
