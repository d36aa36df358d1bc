//! A record as it moves between nodes.

use qres_fed::record::{Consent, Contribution, Proof, Seal, Signed};
use qres_fed::round::RecordId;

/// A record as it moves between nodes. A received record is decoded, but its signatures are not yet verified.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Record {
    Contribution(Signed<Contribution>),
    Seal(Signed<Seal>),
    Proof(Proof),
    Consent(Signed<Consent>),
}

impl Record {
    /// Returns the id of the record.
    pub fn id(&self) -> RecordId {
        match self {
            Self::Contribution(signed) => RecordId::Contribution(signed.record.id()),
            Self::Seal(signed) => RecordId::Seal(signed.record.id()),
            Self::Proof(proof) => RecordId::Proof(proof.id()),
            Self::Consent(signed) => RecordId::Consent(signed.record.id()),
        }
    }
}
