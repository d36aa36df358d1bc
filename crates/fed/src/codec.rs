//! Codecs: how an update's floats are coded on their way. Integer tensors always travel losslessly.

pub(crate) mod float;

use crate::record::{Rule, SpecError, TensorSpec};

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
    pub fn of(_rule: &Rule) -> Result<Self, SpecError> {
        todo!()
    }
    /// Exact length of a coded update of this schema.
    pub fn coded_bytes(self, _schema: &[TensorSpec]) -> u64 {
        todo!()
    }
}
