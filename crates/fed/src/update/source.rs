//! Bytes of a source, borrowed or read.

use crate::tensor::{Source, TensorError};

/// Returns bytes of a source: borrowed if the source lends them, else read into `buffer`.
pub(super) fn bytes_at<'a>(
    source: &'a dyn Source,
    offset: u64,
    bytes: usize,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], TensorError> {
    if let Some(lent) = source.lend_at(offset, bytes) {
        return Ok(lent);
    }
    buffer.resize(bytes, 0);
    source.read_at(offset, buffer)?;
    Ok(buffer)
}
