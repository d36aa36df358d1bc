//! What a node brings to a comparison.

use std::collections::BTreeSet;

use qres_fed::round::RecordId;

/// What is held of a model, and what is not wanted though it is not held.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// The records held, each with its round.
    pub records: Vec<(u64, RecordId)>,
    /// Up to this round records are forgotten here: they are not asked for, but for proofs, which new seals may name.
    pub above: u64,
    /// Records that came and were not kept.
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

/// Whether a node that has forgotten what is not above that round compares this record.
pub(super) fn is_compared(round: u64, id: &RecordId, above: u64) -> bool {
    round > above || matches!(id, RecordId::Proof(_))
}
