//! The canonical safetensors file of a schema.

use std::fmt::Write as _;

use super::{Placement, Source, TensorError};
use crate::record::TensorSpec;

/// Bytes of the length that stands before the JSON.
pub(super) const LENGTH_BYTES: u64 = 8;
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1 << 18;

/// A tensor's range in the canonical file that [`Layout`] describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Offset of the tensor's first byte in the file.
    pub offset: u64,
    /// Length of the tensor's data, in bytes.
    pub bytes: u64,
}

/// Layout of the one canonical safetensors file of a schema: tensors ascending by name, no metadata, the header padded with
/// spaces to a multiple of 8 bytes. Two nodes with the same tensors write the same bytes.
///
/// The JSON is `{"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},…}` without white space; names are escaped as
/// JSON demands and no further (`\" \\`; a name has no control characters). It is written here, byte for byte, because
/// every node's digest of a checkpoint depends on it.
#[derive(Debug, Clone)]
pub struct Layout {
    header: Vec<u8>,
    slots: Vec<Slot>,
    file_bytes: u64,
}

impl Layout {
    /// Computes the layout of a (checked) schema.
    pub fn of(schema: &[TensorSpec]) -> Self {
        let mut json = String::from("{");
        let mut slots = Vec::with_capacity(schema.len());
        let mut end = 0u64;
        for (i, tensor) in schema.iter().enumerate() {
            let slot = Slot {
                offset: end,
                bytes: tensor_bytes(tensor),
            };
            end = end.saturating_add(slot.bytes);
            let comma = if i > 0 { "," } else { "" };
            let name = serde_json::Value::from(tensor.name.as_str());
            let dtype = tensor.dtype.name();
            // Writing to a String cannot fail.
            let _ = write!(json, r#"{comma}{name}:{{"dtype":"{dtype}","shape":["#);
            for (axis, size) in tensor.shape.iter().enumerate() {
                let comma = if axis > 0 { "," } else { "" };
                let _ = write!(json, "{comma}{size}");
            }
            let _ = write!(json, r#"],"data_offsets":[{},{end}]}}"#, slot.offset);
            slots.push(slot);
        }
        json.push('}');
        let padded = json.len().next_multiple_of(8);
        let mut header = Vec::with_capacity(LENGTH_BYTES as usize + padded);
        header.extend_from_slice(&(padded as u64).to_le_bytes());
        header.extend_from_slice(json.as_bytes());
        header.resize(LENGTH_BYTES as usize + padded, b' ');
        let data_at = header.len() as u64;
        for slot in &mut slots {
            slot.offset = slot.offset.saturating_add(data_at);
        }
        Self {
            header,
            slots,
            file_bytes: end.saturating_add(data_at),
        }
    }

    /// Returns the file's first bytes: the length and the JSON header.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// Returns the length of the whole file, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Returns true if a file has the canonical file's length and header. Its data are then in the canonical order, but are
    /// not checked.
    pub fn is_canonical(&self, file: &dyn Source) -> std::io::Result<bool> {
        if file.len() != self.file_bytes {
            return Ok(false);
        }
        let mut found = vec![0; self.header.len()];
        file.read_at(0, &mut found)?;
        Ok(found == self.header)
    }

    /// Returns each tensor's [`Slot`], in the schema's order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Copies a checked file to `out` in canonical form; `placement` gives the tensors' offsets in `file`.
    pub fn write_canonical(
        &self,
        file: &dyn Source,
        placement: &Placement,
        out: &mut dyn std::io::Write,
    ) -> Result<(), TensorError> {
        out.write_all(&self.header)?;
        let mut buffer = vec![0; COPY_BYTES];
        for (slot, &from) in self.slots.iter().zip(&placement.offsets) {
            let mut done = 0;
            while done < slot.bytes {
                let part = (slot.bytes - done).min(COPY_BYTES as u64) as usize;
                file.read_at(from + done, &mut buffer[..part])?;
                out.write_all(&buffer[..part])?;
                done += part as u64;
            }
        }
        Ok(())
    }

    /// Checks what [`Layout::is_canonical`] checks, but returns an error for base weights that names the expected and the
    /// found length.
    pub(crate) fn check(&self, file: &dyn Source) -> Result<(), TensorError> {
        let differs = || {
            TensorError::bad(format!(
                "base weights: not this model's canonical file of {} bytes ({} found): the blob is another model's",
                self.file_bytes,
                file.len()
            ))
        };
        if file.len() != self.file_bytes {
            return Err(differs());
        }
        let mut header = vec![0; self.header.len()];
        file.read_at(0, &mut header)?;
        if header == self.header { Ok(()) } else { Err(differs()) }
    }
}

/// Returns the bytes of a tensor's elements. A checked schema is far below an overflow; the bytes of an unchecked one
/// saturate.
pub(crate) fn tensor_bytes(tensor: &TensorSpec) -> u64 {
    let elements = tensor.elements().unwrap_or(u64::MAX);
    elements.saturating_mul(tensor.dtype.bytes() as u64)
}
