//! Check that a file's floats are finite and that its booleans are 0 or 1.

use rayon::prelude::*;

use super::{Placement, Source, TensorError, tensor_bytes};
use crate::codec::float;
use crate::record::{Dtype, TensorSpec};

/// Bytes that each thread reads and checks at a time.
const BLOCK_BYTES: u64 = 1 << 18;
/// Blocks that are given to the threads at a time: enough to keep all processors of any machine busy, and few enough that
/// an error ends the work early.
const WINDOW: usize = 256;

/// Checks that every float is finite and that every boolean is 0 or 1. The error names the first element that fails, in the
/// schema's order.
pub fn check(schema: &[TensorSpec], file: &dyn Source, placement: &Placement) -> Result<(), TensorError> {
    let mut window = Vec::with_capacity(WINDOW);
    for (tensor, &offset) in schema.iter().zip(&placement.offsets) {
        if !tensor.dtype.is_float() && tensor.dtype != Dtype::Bool {
            continue;
        }
        let bytes = tensor_bytes(tensor);
        for start in (0..bytes).step_by(BLOCK_BYTES as usize) {
            window.push((tensor, offset, start, BLOCK_BYTES.min(bytes - start)));
            if window.len() == WINDOW {
                run(file, &window)?;
                window.clear();
            }
        }
    }
    run(file, &window)
}

fn run(file: &dyn Source, window: &[(&TensorSpec, u64, u64, u64)]) -> Result<(), TensorError> {
    let first = window
        .par_iter()
        .map_init(Vec::new, |buffer, &(tensor, offset, start, bytes)| {
            buffer.resize(bytes as usize, 0);
            file.read_at(offset + start, buffer)?;
            match float::first_bad(tensor.dtype, buffer) {
                None => Ok(()),
                Some(index) => Err(element_error(tensor, start, index, buffer)),
            }
        })
        .find_first(Result::is_err);
    first.unwrap_or(Ok(()))
}

fn element_error(tensor: &TensorSpec, start: u64, index: usize, block: &[u8]) -> TensorError {
    let width = tensor.dtype.bytes();
    let element = start / width as u64 + index as u64;
    TensorError::bad(format!(
        "tensor {:?}: element {element} is {}",
        tensor.name,
        float::describe_bad(tensor.dtype, &block[index * width..][..width])
    ))
}
