//! Codecs for the floats of an update during its transfer. Integer tensors are always sent losslessly.
//!
//! A coded update is the tensors' coded bytes, one tensor after the other, in the schema's order. Except for `tcq/1` it has no
//! header: the spec and the codec determine every length, so the update contains no length that could be false. Integer and
//! boolean tensors stand in it unchanged (little-endian, absolute values, not differences); float tensors are coded by the
//! codec:
//!
//! | codec | bytes of n floats | an element | error |
//! | --- | --- | --- | --- |
//! | `none/1` | n × the dtype's width | the difference in the tensor's dtype, ties to even | half a unit in the last place |
//! | `bf16/1` | 2 n | bfloat16, ties to even | at most 2^-8 of it (2^-134 below 2^-126) |
//! | `f16/1` | 2 n | IEEE 754 binary16, ties to even | at most 2^-11 of it (2^-25 below 2^-14) |
//! | `int8/1` | n + 4 ⌈n / 256⌉ | one int8 c: the value is s × c | at most s / 2 |
//! | `tcq/1` | about 0.43 n at a fidelity of 0.99 | an entropy-coded multiple of one step | as large as the fidelity allows |
//!
//! `int8/1` codes a tensor in blocks of 256 elements, the last of which may be shorter. A block is the scale s (f32) and
//! then the codes. s is the block's largest magnitude divided by 127, rounded up.
//!
//! `tcq/1` is described in its file, `codec/tcq.rs`. Its updates differ in length. It aims at the rule's number `fidelity_min`
//! (0.5 to 0.9999) and always meets it; what it saves on one tensor it spends on another one.
//!
//! A value beyond the largest finite value of a format becomes that value, but an update that would need this is refused
//! when it is made. An update whose fidelity is below the rule's number `fidelity_min` (0.99 by default) is refused too.
//! The fidelity of a Gaussian update is 0.999997 with `bf16/1`, 0.99999996 with `f16/1` and 0.99995 with `int8/1`.

pub(crate) mod block;
mod element;
pub(crate) mod float;
mod rounding;
pub(crate) mod tcq;

pub(crate) use element::Element;

use std::ops::RangeInclusive;

use crate::record::{Dtype, Rule, SpecError, TensorSpec};
use crate::tensor::tensor_bytes;

/// Name of the number in a codec's [`Rule`] that gives the least fidelity of an update.
const FIDELITY_MIN: &str = "fidelity_min";
/// Least fidelity of an update if the rule does not give [`FIDELITY_MIN`]; the same as for states.
const FIDELITY_MIN_DEFAULT: f64 = 0.99;

/// Elements that share one scale. With 256 the scales add 1.6 % of bytes and the fidelity of a Gaussian update is 0.99995.
/// With 4096 the scales would add nearly nothing, but the fidelity of a heavy-tailed update (t with 3 degrees of freedom)
/// would be only 0.9979, little above the least fidelity of 0.99.
const INT8_BLOCK: usize = 256;

/// Fidelities that `tcq/1` aims at. Above them int8/1 is smaller or as small; below them the trellis gains nothing.
const TCQ_FIDELITIES: RangeInclusive<f64> = 0.5..=0.9999;

/// Returns the least fidelity that an update of the model must have, 0 to 1.
pub(crate) fn fidelity_min(codec: &Rule) -> f32 {
    codec.params.get(FIDELITY_MIN).copied().unwrap_or(FIDELITY_MIN_DEFAULT) as f32
}

/// A codec that this version of the crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `none/1`: floats stay in the tensor's dtype.
    None,
    /// `bf16/1`: rounded to bfloat16, ties to even.
    Bf16,
    /// `f16/1`: rounded to IEEE 754 binary16, ties to even.
    F16,
    /// `int8/1`: int8 in blocks of 256 elements with one scale for each block.
    Int8,
    /// `tcq/1`: trellis-coded quantisation with one step, and entropy coding.
    Tcq,
}

impl Codec {
    /// Returns the codec that a rule names. The error for an unknown codec names it and lists the known ones.
    pub fn of(rule: &Rule) -> Result<Self, SpecError> {
        let fail = |problem: String| SpecError {
            field: "codec",
            problem,
        };
        let codec = match rule.id.as_str() {
            "none/1" => Self::None,
            "bf16/1" => Self::Bf16,
            "f16/1" => Self::F16,
            "int8/1" => Self::Int8,
            "tcq/1" => Self::Tcq,
            other => {
                return Err(fail(format!(
                    "{other:?} is not known here: none/1, bf16/1, f16/1, int8/1 and tcq/1 are"
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
            Some(least) if codec == Self::Tcq && !TCQ_FIDELITIES.contains(least) => Err(fail(format!(
                "{FIDELITY_MIN} is {least}: tcq/1 takes {} to {}; none/1, bf16/1, f16/1 and int8/1 keep more",
                TCQ_FIDELITIES.start(),
                TCQ_FIDELITIES.end()
            ))),
            _ => Ok(codec),
        }
    }

    /// Returns the largest magnitude of a float that is coded as itself and not cut. For f64 this is the number below
    /// `f64::MAX`, because `f64::MAX` stands for everything beyond the range.
    pub(crate) fn largest(self, dtype: Dtype) -> f64 {
        let last = f64::MAX.next_down();
        match (self, dtype) {
            (Self::None, Dtype::F16) | (Self::F16, _) => half::f16::MAX.to_f64(),
            (Self::None | Self::Tcq, Dtype::F64) => last,
            (Self::None | Self::Bf16, Dtype::Bf16) | (Self::Bf16, _) => half::bf16::MAX.to_f64(),
            (Self::None | Self::Tcq, _) => f64::from(f32::MAX),
            // The scale is an f32 and the largest code is 127.
            (Self::Int8, _) => f64::from(f32::MAX) * 127.0,
        }
    }

    /// Returns the name and version, e.g. `bf16/1`; [`Codec::of`] reads them.
    pub fn id(self) -> &'static str {
        match self {
            Self::None => "none/1",
            Self::Bf16 => "bf16/1",
            Self::F16 => "f16/1",
            Self::Int8 => "int8/1",
            Self::Tcq => "tcq/1",
        }
    }

    /// Returns the dtype of a tensor's floats in a batch of an update, for the codecs that have one: `tcq/1` decodes to f32,
    /// and tensors of f64 to f64.
    pub(crate) fn plain(self, dtype: Dtype) -> Dtype {
        match self {
            Self::Bf16 => Dtype::Bf16,
            Self::F16 => Dtype::F16,
            Self::Tcq if dtype != Dtype::F64 => Dtype::F32,
            _ => dtype,
        }
    }

    /// Returns the lengths that coded updates of this schema may have, in bytes: one length, except for `tcq/1`.
    pub fn lengths(self, schema: &[TensorSpec]) -> RangeInclusive<u64> {
        let sum = |bytes: &dyn Fn(&TensorSpec) -> u64| schema.iter().fold(0u64, |sum, t| sum.saturating_add(bytes(t)));
        let most = sum(&|tensor| self.tensor_bytes(tensor));
        if self != Self::Tcq {
            return most..=most;
        }
        let integers = sum(&|tensor| {
            if tensor.dtype.is_float() {
                0
            } else {
                tensor_bytes(tensor)
            }
        });
        // There are at most as many chunks as pieces of tensors.
        let pieces = sum(&|tensor| tensor.elements().unwrap_or(u64::MAX).div_ceil(tcq::CHUNK as u64));
        let rest = (tcq::HEADER_MAX as u64).saturating_add(pieces.saturating_mul(2));
        integers.saturating_add(tcq::HEADER_MIN as u64)..=most.saturating_add(rest)
    }

    /// Returns the most bytes that a coded update of this schema has; all have this length, except for `tcq/1`.
    pub fn coded_bytes(self, schema: &[TensorSpec]) -> u64 {
        *self.lengths(schema).end()
    }

    /// Returns the bytes of one tensor in a coded update; for `tcq/1` those that it has if it is not coded. The sum saturates for a tensor so large that no checked schema holds it.
    pub(crate) fn tensor_bytes(self, tensor: &TensorSpec) -> u64 {
        let elements = tensor.elements().unwrap_or(u64::MAX);
        match self {
            Self::Bf16 | Self::F16 | Self::Tcq if tensor.dtype.is_float() => {
                elements.saturating_mul(self.plain(tensor.dtype).bytes() as u64)
            }
            Self::Int8 if tensor.dtype.is_float() => {
                let scales = elements.div_ceil(INT8_BLOCK as u64).saturating_mul(4);
                elements.saturating_add(scales)
            }
            _ => tensor_bytes(tensor),
        }
    }

    /// Returns the coded bytes of `elements` elements of a tensor, counted from a multiple of [`INT8_BLOCK`].
    pub(crate) fn run_bytes(self, dtype: Dtype, elements: usize) -> usize {
        match self {
            Self::Bf16 | Self::F16 | Self::Tcq if dtype.is_float() => elements * self.plain(dtype).bytes(),
            Self::Int8 if dtype.is_float() => elements + 4 * elements.div_ceil(INT8_BLOCK),
            _ => elements * dtype.bytes(),
        }
    }

    /// Returns the number of float elements in `bytes` coded bytes: the inverse of [`Self::run_bytes`].
    pub(crate) fn run_elements(self, dtype: Dtype, bytes: usize) -> usize {
        match self {
            Self::Int8 => bytes - 4 * bytes.div_ceil(INT8_BLOCK + 4),
            _ => bytes / self.plain(dtype).bytes(),
        }
    }
}

#[cfg(test)]
mod tests;
