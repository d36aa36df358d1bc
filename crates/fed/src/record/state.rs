//! States: the record of a published state embedding, without its tensors.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical, is_name};
use crate::id::{BlobId, NodeId, SpecId};

/// Largest length of a state's name, in bytes.
pub const STATE_NAME_BYTES_MAX: usize = 128;

/// Error for a text that cannot be a state's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name: {got:?} is no name of a state: 1 to {STATE_NAME_BYTES_MAX} bytes, printable characters only")]
pub struct StateNameError {
    /// The text that was given, cut to 160 characters.
    pub got: String,
}

/// Named tensors that one node publishes under a model, with the fidelity that the publisher measured.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct StateRecord {
    /// The spec of the model; its membership also applies to the state.
    pub spec: SpecId,
    /// The node that publishes and signs the state.
    pub publisher: NodeId,
    /// Name of the state, one of several that the publisher may have.
    pub name: String,
    /// Number that orders a publisher's states of one name; the timestamp is for information only.
    pub sequence: u64,
    /// Time of the publisher's clock, in ms since the Unix epoch.
    pub timestamp_unix_ms: u64,
    /// Fidelity of the coded tensors, in `0.0..=1.0`, as measured by the publisher: `1 - |x - y|^2 / |x|^2` for given
    /// tensors x that receivers decode as y. For small errors this is the squared cosine of the two.
    pub fidelity: f64,
    /// The coded tensors ([`crate::state`]).
    pub blob: BlobId,
    /// Length of that blob, in bytes.
    pub bytes: u64,
}

// `fidelity` is never NaN: borsh refuses to read or write one.
impl Eq for StateRecord {}

impl Canonical for StateRecord {
    const TAG: &'static str = "qres/state/1\n";
}

impl StateRecord {
    /// Checks that a state can have this name: 1 to [`STATE_NAME_BYTES_MAX`] bytes of printable characters.
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
