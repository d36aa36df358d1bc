//! A published state embedding, without its tensors.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical};
use crate::id::{BlobId, NodeId, SpecId};

/// Bytes of a state's name.
pub const STATE_NAME_BYTES_MAX: usize = 128;

/// Named tensors of one publisher under a model: the seed's `State { timestamp, fidelity, tensor_blob }`.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct StateRecord {
    /// The model whose membership governs it.
    pub spec: SpecId,
    /// Who publishes.
    pub publisher: NodeId,
    /// Which of the publisher's states.
    pub name: String,
    /// Orders a publisher's states; the timestamp only informs.
    pub sequence: u64,
    /// What the publisher's clock said, Unix ms.
    pub timestamp_unix_ms: u64,
    /// Squared cosine between what was given and what is sent, as measured by the publisher.
    pub fidelity: f64,
    /// The coded tensors ([`crate::state`]).
    pub blob: BlobId,
    /// Their length.
    pub bytes: u64,
}

// `fidelity` is never NaN: borsh refuses to read or write one.
impl Eq for StateRecord {}

impl Canonical for StateRecord {
    const TAG: &'static str = "qres/state/1\n";
}

impl Authored for StateRecord {
    fn author(&self) -> NodeId {
        self.publisher
    }
}
