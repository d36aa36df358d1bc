//! The header of a safetensors file, hostile until checked.

use super::Source;
use crate::record::TensorSpec;

/// Why bytes are not a model's tensors.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The file as such is broken, or a tensor is off the schema or not finite. Names the tensor, what was expected, what
    /// was found, and the remedy.
    #[error("{0}")]
    Bad(String),
    /// The bytes could not be read.
    #[error("the tensors cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Where each tensor of a schema (in the schema's order) begins in one particular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Offset in the file of each tensor's first byte.
    pub offsets: Vec<u64>,
}

/// Reads a safetensors file's header: the schema, ascending by name. Nothing is believed: lengths, holes, overlaps, dtypes,
/// duplicate names.
pub fn read_schema(_file: &dyn Source) -> Result<Vec<TensorSpec>, TensorError> {
    todo!()
}

/// Checks a safetensors file against a schema (names, dtypes, shapes, count) and every float for finiteness, block by
/// block. Tensors may stand in the file in any order.
pub fn check_weights(_schema: &[TensorSpec], _file: &dyn Source) -> Result<Placement, TensorError> {
    todo!()
}
