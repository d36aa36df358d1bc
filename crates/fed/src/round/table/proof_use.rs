//! The held proofs whose use is in question.

use std::collections::BTreeSet;

use crate::id::ProofId;

/// The held proofs whose use is in question.
#[derive(Debug, Default)]
pub(in crate::round) struct ProofUse {
    /// Proofs that may be of no more use, or of use again.
    pub loose: BTreeSet<ProofId>,
    /// Proofs against authors of an open model of whom nothing else is held.
    pub spare: BTreeSet<ProofId>,
}
