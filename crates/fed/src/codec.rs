//! Codecs: how an update's floats are coded on their way. Integer tensors always travel losslessly.
//!
//! A coded update has no header: it is the tensors' coded bytes one after the other, in the schema's order. Spec and
//! codec give every length, so nothing in it can lie. Integer and boolean tensors stand in it as they are
//! (little-endian, absolute values, not differences), float tensors as the codec says:
//!
//! | codec | bytes of n floats | an element | error |
//! | --- | --- | --- | --- |
//! | `none/1` | n × the dtype's width | the difference in the tensor's dtype, ties to even | half a unit in the last place |
//! | `bf16/1` | 2 n | bfloat16, ties to even | at most 2^-8 of it (2^-134 below 2^-126) |
//! | `int8/1` | n + 4 ⌈n / 256⌉ | one int8 c: the value is s × c | at most s / 2 |
//!
//! `int8/1` holds blocks of 256 elements within a tensor, the last of which may be shorter: the scale s (f32), then the
//! codes. s is the largest magnitude of the block / 127, rounded up.
//!
//! What is beyond the largest finite value of a format becomes that value. Squared cosine of a Gaussian update and its
//! reconstruction: `bf16/1` 0.999997, `int8/1` 0.99995.

pub(crate) mod block;
pub(crate) mod float;

use crate::record::{Dtype, Rule, SpecError, TensorSpec};
use crate::tensor::tensor_bytes;

/// A known codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `none/1`: as they are.
    None,
    /// `bf16/1`: rounded to bfloat16, ties to even.
    Bf16,
    /// `int8/1`: blockwise int8 with one scale a block.
    Int8,
}

impl Codec {
    /// The codec that a rule names; an unknown one is an error that names it and lists the known ones.
    pub fn of(rule: &Rule) -> Result<Self, SpecError> {
        let fail = |problem: String| SpecError {
            field: "codec",
            problem,
        };
        let codec = match rule.id.as_str() {
            "none/1" => Self::None,
            "bf16/1" => Self::Bf16,
            "int8/1" => Self::Int8,
            other => {
                return Err(fail(format!(
                    "{other:?} is not known here: none/1, bf16/1 and int8/1 are"
                )));
            }
        };
        match rule.params.keys().next() {
            Some(name) => Err(fail(format!(
                "{} takes no numbers, {name:?} was given: leave it out",
                rule.id
            ))),
            None => Ok(codec),
        }
    }

    /// The name and version.
    pub fn id(self) -> &'static str {
        match self {
            Self::None => "none/1",
            Self::Bf16 => "bf16/1",
            Self::Int8 => "int8/1",
        }
    }

    /// Exact length of a coded update of this schema.
    pub fn coded_bytes(self, schema: &[TensorSpec]) -> u64 {
        schema
            .iter()
            .fold(0, |sum, tensor| sum.saturating_add(self.tensor_bytes(tensor)))
    }

    /// Coded bytes of one tensor; saturates for one that no checked schema holds.
    pub(crate) fn tensor_bytes(self, tensor: &TensorSpec) -> u64 {
        let elements = tensor.elements().unwrap_or(u64::MAX);
        match self {
            Self::Bf16 if tensor.dtype.is_float() => elements.saturating_mul(2),
            Self::Int8 if tensor.dtype.is_float() => {
                let scales = elements.div_ceil(block::INT8_BLOCK as u64).saturating_mul(4);
                elements.saturating_add(scales)
            }
            _ => tensor_bytes(tensor),
        }
    }

    /// Coded bytes of `elements` of a tensor, counted from a multiple of [`block::INT8_BLOCK`].
    pub(crate) fn run_bytes(self, dtype: Dtype, elements: usize) -> usize {
        match self {
            Self::Bf16 if dtype.is_float() => elements * 2,
            Self::Int8 if dtype.is_float() => elements + 4 * elements.div_ceil(block::INT8_BLOCK),
            _ => elements * dtype.bytes(),
        }
    }

    /// The inverse of [`Self::run_bytes`], for floats.
    pub(crate) fn run_elements(self, dtype: Dtype, bytes: usize) -> usize {
        match self {
            Self::Bf16 => bytes / 2,
            Self::Int8 => bytes - 4 * bytes.div_ceil(block::INT8_BLOCK + 4),
            Self::None => bytes / dtype.bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
