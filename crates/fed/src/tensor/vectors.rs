//! Small safetensors files as plain vectors, the form in which learners, tests and clients hold tensors in memory.

use super::header::{HEADER_BYTES_MAX, read_header};
use super::{Layout, TensorError};
use crate::record::{Dtype, TensorSpec};

/// An f32 tensor: its name, its shape, its elements in row-major order.
pub type F32Tensor = (String, Vec<u64>, Vec<f32>);

/// Makes a safetensors file of f32 tensors `(name, shape, elements in row-major order)`. If the names are unique, the
/// result is the canonical file, independent of the order of `tensors`.
///
/// ```
/// use qres_fed::tensor::{f32_from_safetensors, to_safetensors};
///
/// let tensors = [("bias".to_owned(), vec![2], vec![0.5, -1.0])];
/// assert_eq!(f32_from_safetensors(&to_safetensors(&tensors)).unwrap(), tensors);
/// ```
///
/// # Panics
/// Panics if the number of a tensor's elements is not that of its shape, which is a mistake in the calling code.
pub fn to_safetensors(tensors: &[F32Tensor]) -> Vec<u8> {
    let mut ordered: Vec<_> = tensors.iter().collect();
    ordered.sort_by(|a, b| a.0.cmp(&b.0));
    let schema: Vec<TensorSpec> = ordered
        .iter()
        .map(|(name, shape, values)| {
            let spec = TensorSpec {
                name: name.clone(),
                dtype: Dtype::F32,
                shape: shape.clone(),
            };
            let elements = values.len() as u64;
            assert_eq!(
                spec.elements(),
                Some(elements),
                "tensor {name:?}: elements of shape {shape:?}"
            );
            spec
        })
        .collect();
    let mut file = Layout::of(&schema).header().to_vec();
    for (_, _, values) in ordered {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

/// Reads a safetensors file of f32 tensors, the inverse of [`to_safetensors`], as `(name, shape, elements)`, ascending by
/// name. A tensor of another dtype is an error that names it. The function does not check that the floats are finite.
pub fn f32_from_safetensors(file: &[u8]) -> Result<Vec<F32Tensor>, TensorError> {
    let mut tensors = Vec::new();
    let (schema, placement) = read_header(&file, HEADER_BYTES_MAX)?;
    for (spec, offset) in schema.into_iter().zip(placement.offsets) {
        if spec.dtype != Dtype::F32 {
            return Err(TensorError::bad(format!(
                "tensor {:?}: dtype F32 expected, {} found: only f32 files can be read as plain vectors",
                spec.name,
                spec.dtype.name()
            )));
        }
        // `read_header` has checked that the range is inside the file and as long as the shape requires.
        let start = offset as usize;
        let bytes = &file[start..start + super::layout::tensor_bytes(&spec) as usize];
        let values = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        tensors.push((spec.name, spec.shape, values));
    }
    Ok(tensors)
}
