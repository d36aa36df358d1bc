//! The canonical safetensors file of a schema.

use crate::record::TensorSpec;

use super::{Placement, Source, TensorError};

/// One tensor's place in the canonical file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The one canonical safetensors file of a schema: tensors ascending by name, no metadata, header padded with spaces to a
/// multiple of 8. Two nodes with the same tensors write the same bytes.
#[derive(Debug, Clone)]
pub struct Layout {}

impl Layout {
    /// The layout of a (checked) schema.
    pub fn of(_schema: &[TensorSpec]) -> Self {
        todo!()
    }
    /// The file's first bytes: the length and the JSON header.
    pub fn header(&self) -> &[u8] {
        todo!()
    }
    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        todo!()
    }
    /// Each tensor's place, in the schema's order.
    pub fn slots(&self) -> &[Slot] {
        todo!()
    }
    /// Copies a checked file into canonical form.
    pub fn write_canonical(
        &self,
        _file: &dyn Source,
        _placement: &Placement,
        _out: &mut dyn std::io::Write,
    ) -> Result<(), TensorError> {
        todo!()
    }
}
