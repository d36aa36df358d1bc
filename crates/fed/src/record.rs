//! Records: the data that nodes sign, store and send to each other, in one canonical byte form.
//!
//! The canonical bytes of a record are its tag (a text that ends in a newline) followed by its borsh encoding. An id is the
//! BLAKE3 of those bytes and a signature covers them; mesh and store carry the bytes unchanged. The tag separates the kinds
//! of records: no bytes are two kinds of record at once. `docs/protocol.md` describes every field; golden vectors pin the
//! bytes.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

mod checkpoint;
mod consent;
mod contribution;
mod end;
mod error;
mod evaluation;
mod metric;
mod outline;
mod printable;
mod proof;
mod report;
mod schedule;
mod schema;
mod seal;
mod spec;
mod state;

pub use checkpoint::{BlobRole, Checkpoint, Content, Proposal};
pub use consent::{CHANGE_MAX, Change, ChangeError, Consent, Handover};
pub use contribution::Contribution;
pub use end::{End, MetricTarget};
pub use error::SpecError;
pub use evaluation::Summary;
pub use metric::{Goal, METRIC_VALUE_MAX, METRICS_MAX, Metric, is_metric_value};
pub use outline::Outline;
pub(crate) use printable::is_name;
pub use printable::{is_printable, printable};
pub use proof::{Proof, ProofError};
pub use report::{Figures, Measured, Report, SAMPLES_MAX, STEPS_MAX};
pub(crate) use report::{LOSS, mean_by_samples};
pub use schedule::{Curve, Point, SCHEDULE_POINTS_MAX, SCHEDULES_MAX, Schedule};
pub use schema::{Dtype, Schema, TENSORS_MAX, TensorKind, TensorSpec};
pub(crate) use schema::{TENSOR_NAME_BYTES_MAX, TENSOR_NAME_RULE, is_tensor_name, read_tensors};
pub use seal::{PROOFS_PER_SEAL_MAX, Seal};
#[cfg(test)]
pub(crate) use spec::tests::test_spec;
pub use spec::{MEMBERS_MAX, Membership, ModelName, ModelNameError, RULES_MAX, RoundPolicy, Rule, Spec};
pub use state::{STATE_NAME_BYTES_MAX, StateNameError, StateRecord};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::NodeId;

/// Reason why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not begin with the tag of this kind of record.
    #[error("not a {expected:?} record: the tag differs (another kind of record, or a newer format)")]
    Tag {
        /// The tag that was expected.
        expected: &'static str,
    },
    /// The bytes after the tag are not the canonical encoding.
    #[error("malformed record: {0}")]
    Malformed(String),
}

/// A record with one canonical byte form.
pub trait Canonical: BorshSerialize + BorshDeserialize {
    /// First bytes of the canonical form. The number in the tag is the format's version.
    const TAG: &'static str;

    /// Returns the canonical bytes: the tag, then the borsh encoding.
    fn to_canonical(&self) -> Vec<u8> {
        let mut bytes = Self::TAG.as_bytes().to_vec();
        // Writing into a Vec cannot fail, and the records of this module hold no NaN, which borsh would refuse.
        borsh::to_writer(&mut bytes, self).expect("a record of finite numbers always encodes");
        bytes
    }

    /// Reads canonical bytes. Returns a [`DecodeError`] for all bytes that are not the one canonical encoding.
    fn from_canonical(bytes: &[u8]) -> Result<Self, DecodeError> {
        let body = bytes
            .strip_prefix(Self::TAG.as_bytes())
            .ok_or(DecodeError::Tag { expected: Self::TAG })?;
        let record: Self = borsh::from_slice(body).map_err(|error| DecodeError::Malformed(error.to_string()))?;
        // borsh reads sets and maps in any order; only the ascending one is canonical.
        if record.to_canonical() == bytes {
            return Ok(record);
        }
        Err(DecodeError::Malformed(
            "not the canonical encoding: a set or map is out of order".into(),
        ))
    }
}

/// An Ed25519 signature over a record's canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// Stands in the place of a signature that this node does not have. It is valid for no key.
    pub const NONE: Self = Self([0; 64]);
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({})", hex::encode(&self.0[..4]))
    }
}

/// A record and its author's signature over the record's canonical bytes.
///
/// This crate neither checks nor makes signatures: the crate `node` verifies a record before it passes the record on, and
/// signs the records that this crate asks for.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Signed<T> {
    /// The signed record.
    pub record: T,
    /// The signature by the key of the record's [`Authored::author`].
    pub signature: Signature,
}

/// A record that one node signs.
pub trait Authored: Canonical {
    /// Returns the node whose key must have made the signature.
    fn author(&self) -> NodeId;
}
