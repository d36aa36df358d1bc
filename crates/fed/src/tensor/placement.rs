//! Placement of a schema's tensors in one particular file.

/// Offsets of a schema's tensors (in the schema's order) in one particular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Offset in the file of each tensor's first byte.
    pub offsets: Vec<u64>,
}
