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
//! What is beyond the largest finite value of a format becomes that value; an update that would need this is refused when it is
//! made. So is one whose fidelity is below the rule's number `fidelity_min` (0.99 by default). Fidelity of a Gaussian update:
//! `bf16/1` 0.999997, `int8/1` 0.99995.

pub(crate) mod block;
pub(crate) mod float;

use crate::record::{Dtype, Rule, SpecError, TensorSpec};
use crate::tensor::tensor_bytes;

/// The number of a codec's rule that says which fidelity an update must keep at least.
const FIDELITY_MIN: &str = "fidelity_min";
/// That, where a rule does not say it: as for states.
const FIDELITY_MIN_DEFAULT: f64 = 0.99;

/// The least fidelity of a model's updates, 0 to 1.
pub(crate) fn fidelity_min(codec: &Rule) -> f32 {
    codec.params.get(FIDELITY_MIN).copied().unwrap_or(FIDELITY_MIN_DEFAULT) as f32
}

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
        if let Some(name) = rule.params.keys().find(|name| *name != FIDELITY_MIN) {
            return Err(fail(format!(
                "{} takes no number but {FIDELITY_MIN:?}, {name:?} was given: leave it out",
                rule.id
            )));
        }
        match rule.params.get(FIDELITY_MIN) {
            Some(least) if !(0.0..=1.0).contains(least) => {
                Err(fail(format!("{FIDELITY_MIN} is {least}: it is 0 to 1")))
            }
            _ => Ok(codec),
        }
    }

    /// The largest magnitude of a float that is coded as itself and not cut. Of f64 that is all but the very last, which stands
    /// for all that is beyond.
    pub(crate) fn largest(self, dtype: Dtype) -> f64 {
        let last = f64::MAX.next_down();
        match (self, dtype) {
            (Self::None, Dtype::F16) => half::f16::MAX.to_f64(),
            (Self::None, Dtype::F64) => last,
            (Self::None | Self::Bf16, Dtype::Bf16) | (Self::Bf16, _) => half::bf16::MAX.to_f64(),
            (Self::None, _) => f64::from(f32::MAX),
            // The scale is an f32.
            (Self::Int8, _) => f64::from(f32::MAX) * 127.0,
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
