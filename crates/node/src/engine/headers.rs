//! The headers of callers' files: bounded, and large ones one at a time.
//!
//! A header is read whole, and takes several times its length while it is parsed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use qres_fed::record::{Schema, TensorSpec};
use qres_fed::tensor::{self, Placement, Source, TensorError};

/// Headers above this wait for each other: those of about ten thousand tensors.
const LARGE_BYTES: u64 = 1 << 20;

/// See the module. Blocks: for blocking threads alone.
pub struct Headers {
    /// Where no schema says how long a header may be.
    bytes_max: u64,
    large: Mutex<()>,
}

impl Headers {
    /// With the most bytes of a header that no schema is known for.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            large: Mutex::new(()),
        }
    }

    fn turn(&self, file: &dyn Source) -> Result<Option<MutexGuard<'_, ()>>, TensorError> {
        let large = tensor::header_bytes(file)? > LARGE_BYTES;
        // It guards no value, so a panic leaves nothing broken.
        Ok(large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The schema of a file, every float of it finite, and where its tensors are.
    pub fn read(&self, file: &dyn Source) -> Result<(Schema, Placement), TensorError> {
        let turn = self.turn(file)?;
        let (schema, placement) = tensor::read_header(file, self.bytes_max)?;
        drop(turn);
        tensor::check_finite(&schema, file, &placement)?;
        Ok((schema.into(), placement))
    }

    /// Whether a file has the tensors of a schema, every float of them finite.
    pub fn check(&self, schema: &[TensorSpec], file: &dyn Source) -> Result<(), TensorError> {
        let turn = self.turn(file)?;
        let placement = tensor::place(schema, file)?;
        drop(turn);
        tensor::check_finite(schema, file, &placement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header_bytes: usize) -> Vec<u8> {
        let mut file = (header_bytes as u64).to_le_bytes().to_vec();
        file.extend_from_slice(b"{}");
        file.resize(8 + header_bytes, b' ');
        file
    }

    #[test]
    fn a_large_header_waits_for_another_and_a_small_one_does_not() {
        let headers = Headers::new(LARGE_BYTES + 1);
        let (small, large) = (file(LARGE_BYTES as usize), file(LARGE_BYTES as usize + 1));
        let turn = headers.turn(&large).unwrap();
        assert!(turn.is_some() && headers.large.try_lock().is_err());
        assert!(headers.turn(&small).unwrap().is_none());
        headers.read(&small).unwrap();
        drop(turn);
        headers.read(&large).unwrap();
        headers.read(&file(LARGE_BYTES as usize + 2)).unwrap_err();
    }
}
