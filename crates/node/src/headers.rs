//! The headers of callers' files: they are bounded, and large ones are read one at a time.
//!
//! A header is read whole, and takes several times its length while it is parsed.

use parking_lot::{Mutex, MutexGuard};
use qres_fed::record::{Schema, TensorKind, TensorSpec};
use qres_fed::tensor::{self, Placement, Source, SubmissionPlacement, TensorError};

/// The length, in bytes, above which headers wait for each other: that of about ten thousand tensors.
const LARGE_BYTES: u64 = 1 << 20;

/// Reads headers, large ones one at a time. The methods block, so only blocking threads may call them.
pub struct Headers {
    /// The longest header, in bytes, of a file for which no schema is known.
    bytes_max: u64,
    large: Mutex<()>,
}

impl Headers {
    /// Creates a reader that takes headers up to `bytes_max` bytes where no schema is known.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            large: Mutex::new(()),
        }
    }

    fn turn(&self, file: &dyn Source) -> Result<Option<MutexGuard<'_, ()>>, TensorError> {
        let large = tensor::header_bytes(file)? > LARGE_BYTES;
        // The lock guards no value, so a panic leaves nothing broken.
        Ok(large.then(|| self.large.lock()))
    }

    /// Returns the [`Schema`] of a file and the places of its tensors, after a check that every float is finite.
    pub fn read(&self, file: &dyn Source) -> Result<(Schema, Placement), TensorError> {
        let turn = self.turn(file)?;
        let (schema, placement) = tensor::read_header(file, self.bytes_max)?;
        drop(turn);
        tensor::check_finite(&schema, file, &placement)?;
        Ok((schema.into(), placement))
    }

    /// Checks that a file has the tensors of a schema, and that every float is finite.
    pub fn check(&self, schema: &[TensorSpec], file: &dyn Source) -> Result<(), TensorError> {
        let turn = self.turn(file)?;
        let placement = tensor::place(schema, file)?;
        drop(turn);
        tensor::check_finite(schema, file, &placement)
    }

    /// Checks the file of a submission to a model with frozen or personal tensors, and returns the places of its tensors.
    pub fn check_submission(&self, schema: &Schema, file: &dyn Source) -> Result<SubmissionPlacement, TensorError> {
        let turn = self.turn(file)?;
        let placement = tensor::place_submission(schema, file)?;
        drop(turn);
        tensor::check_finite(schema, file, &placement.shared)?;
        if let Some(personal) = &placement.personal {
            tensor::check_finite(&schema.of_kind(TensorKind::Personal), file, personal)?;
        }
        Ok(placement)
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
        assert!(turn.is_some() && headers.large.try_lock().is_none());
        assert!(headers.turn(&small).unwrap().is_none());
        headers.read(&small).unwrap();
        drop(turn);
        headers.read(&large).unwrap();
        headers.read(&file(LARGE_BYTES as usize + 2)).unwrap_err();
    }
}
