//! The use of the held proofs: the lowest of each author, the ones that seals name, and the ones in question.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, ProofId};

/// The use of the held proofs. The proofs themselves are in the ledger.
#[derive(Debug, Default)]
pub(in crate::round) struct Proofs {
    /// The lowest proof held against an author.
    pub proved: BTreeMap<NodeId, ProofId>,
    /// Number of held checkpoints that name each proof. A proof stays as long as they do.
    pub named: BTreeMap<ProofId, usize>,
    /// Proofs that may be of no more use, or of use again.
    pub loose: BTreeSet<ProofId>,
    /// Proofs against authors of an open model of whom nothing else is held.
    pub spare: BTreeSet<ProofId>,
}
