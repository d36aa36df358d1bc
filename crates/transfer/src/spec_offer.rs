//! A model that a peer offers.

use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::Signature;

/// A model that a peer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SpecOffer {
    pub spec: SpecId,
    /// Length of the spec's canonical bytes.
    pub bytes: u64,
    pub name: String,
    pub creator: NodeId,
    /// Signature of the creator over the spec's canonical bytes.
    pub signature: Signature,
}
