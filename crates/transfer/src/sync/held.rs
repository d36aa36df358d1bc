//! The records that a node brings to a comparison.

use std::collections::BTreeSet;

use qres_fed::round::RecordId;

/// Records of a model that this node holds, and records that it does not want though it does not hold them.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The records held, each with its round.
    pub records: Vec<(u64, RecordId)>,
    /// Last round whose records are forgotten here: up to it this node asks only for proofs, which new seals may name, and for
    /// consents, which belong to no round.
    pub above: u64,
    /// Records that arrived here and were not kept.
    pub refused: BTreeSet<RecordId>,
}

impl From<Vec<(u64, RecordId)>> for Held {
    fn from(records: Vec<(u64, RecordId)>) -> Self {
        Self {
            records,
            ..Self::default()
        }
    }
}

/// Returns true if a node that has forgotten the rounds up to `above` compares this record: it is of a later round, a proof or a
/// consent.
pub(super) fn is_compared(round: u64, id: &RecordId, above: u64) -> bool {
    round > above || matches!(id, RecordId::Proof(_) | RecordId::Consent(_))
}
