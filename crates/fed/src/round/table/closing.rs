//! The progress of closing the open round.

use std::collections::BTreeSet;

use crate::id::{Instant, ProposalId};
use crate::record::Proposal;

/// The progress of closing the open round.
#[derive(Debug)]
pub(in crate::round) struct Closing {
    /// Time at which the policy was met.
    pub at: Instant,
    /// True if the target is reached or all expected contributions are in: every node will propose the same, so all compute it
    /// at once and the first one only signs.
    pub full: bool,
    /// The [`Proposal`] that this node would seal; fixed once its aggregation has begun.
    pub proposal: Option<Proposal>,
    /// Time at which the result was known.
    pub computed: Option<Instant>,
    pub signed: bool,
    /// Proposals of others that were being recomputed when this node could have signed.
    pub waited_for: BTreeSet<ProposalId>,
}
