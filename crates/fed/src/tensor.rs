//! Tensors as bytes: safetensors files, the canonical file of a schema, and checks of both.
//!
//! A model is never held in memory as a whole: a [`Source`] gives ranges of bytes, results are written to a `Write`, and
//! work is done one block at a time.

mod array;
mod assembly;
mod error;
mod file;
mod finite;
mod header;
mod layout;
mod placement;
mod seeded;
mod submission;
mod wrapper;

pub use array::{Scalar, Tensor, TensorView, Tensors};
pub use assembly::{Assembled, Assembly};
pub use error::TensorError;
pub use file::{Pieces, TensorReader, read_safetensors, to_safetensors};
pub use finite::check as check_finite;
pub use header::{check_weights, header_bytes, place, read_header, read_schema};
pub use layout::{Layout, Slot};
pub use placement::Placement;
pub use seeded::write_seeded;
pub use submission::{SubmissionPlacement, check_frozen, place_submission};

pub(crate) use header::DIMENSIONS_MAX;
pub(crate) use layout::tensor_bytes;

/// Bytes in another place (a blob's file, memory) that are read by position. Several threads may read at once.
pub trait Source: Send + Sync {
    /// Returns the total number of bytes.
    fn len(&self) -> u64;
    /// Fills `into` with the bytes from `offset` on. A range past the end is an `UnexpectedEof` error.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()>;
    /// Returns the bytes themselves if the source has them in memory, which saves a copy. A source that must read returns
    /// `None`.
    fn lend_at(&self, _offset: u64, _bytes: usize) -> Option<&[u8]> {
        None
    }
    /// Returns true if the source has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Source for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        let from = self.lend_at(offset, into.len());
        into.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn lend_at(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..start.checked_add(bytes)?)
    }
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        Source::len(*self)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        (**self).read_at(offset, into)
    }
    fn lend_at(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        (**self).lend_at(offset, bytes)
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        Source::len(self.as_slice())
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.as_slice().read_at(offset, into)
    }
    fn lend_at(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        self.as_slice().lend_at(offset, bytes)
    }
}
