//! A published state embedding, without its tensors.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical, is_name};
use crate::id::{BlobId, NodeId, SpecId};

/// Bytes of a state's name.
pub const STATE_NAME_BYTES_MAX: usize = 128;

/// A text that is no state's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name: {got:?} is no name of a state: 1 to {STATE_NAME_BYTES_MAX} bytes, printable characters only")]
pub struct StateNameError {
    /// What was given, cut to 160 characters.
    pub got: String,
}

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

impl StateRecord {
    /// Whether a state can have this name.
    pub fn check_name(name: &str) -> Result<(), StateNameError> {
        if is_name(name, STATE_NAME_BYTES_MAX) {
            return Ok(());
        }
        Err(StateNameError {
            got: name.chars().take(160).collect(),
        })
    }
}

impl Authored for StateRecord {
    fn author(&self) -> NodeId {
        self.publisher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_states_name_has_a_length_and_printable_characters() {
        for good in ["scene", "größe 3", &"n".repeat(STATE_NAME_BYTES_MAX)] {
            assert_eq!(StateRecord::check_name(good), Ok(()));
        }
        for bad in [
            "",
            "a\u{1b}[2Jb",
            "a\u{202e}b",
            "a\nb",
            &"n".repeat(STATE_NAME_BYTES_MAX + 1),
        ] {
            let error = StateRecord::check_name(bad).unwrap_err().to_string();
            assert!(
                error.starts_with("name: ") && error.contains("1 to 128 bytes"),
                "{error}"
            );
            assert!(error.chars().all(crate::record::is_printable), "{error:?}");
        }
    }
}
