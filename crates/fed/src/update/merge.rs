//! Merging of a node's submissions into one coded update.

use std::io::Write;

use super::batch::{Batch, Batches};
use super::pipeline::{Scratch, bytes_at, run};
use super::{Coded, Moments, Part, codec_of, integer};
use crate::codec::{self, Codec, block, float};
use crate::record::{Dtype, SAMPLES_MAX, Spec, TensorSpec};
use crate::tensor::{Layout, Placement, Source, TensorError, place};

/// Merges submissions (in the canonical order: ascending by id) on the base's canonical weights and codes the update.
///
/// Floats: the update is the sum over the parts of `samples / total * (weights - base)`, or of `samples / total * delta`,
/// in f64 and in the order given. Integers: the elementwise maximum of the parts' values; a delta is first added (wrapping)
/// to the base. Booleans: "or"; a delta is first combined with the base by "exclusive or". The fidelity compares the f64
/// update with the values that a receiver decodes, over all float tensors together.
///
/// # Errors
/// Returns an error if no part has samples, if a file does not match the schema, if an update is not finite or beyond its
/// codec's range, or if its fidelity is below the model's least.
pub fn merge_and_encode(
    spec: &Spec,
    base: &dyn Source,
    parts: &[Part<'_>],
    out: &mut dyn Write,
) -> Result<Coded, TensorError> {
    let codec = codec_of(spec)?;
    let layout = Layout::of(&spec.tensors);
    layout.check(base)?;
    let samples = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.samples));
    if samples == 0 {
        return Err(TensorError::bad(format!(
            "samples: 0 over {} submissions, at least 1 is needed: they are the weights",
            parts.len()
        )));
    }
    let mut placed = Vec::with_capacity(parts.len());
    for part in parts {
        placed.push(PlacedPart {
            file: part.file,
            placement: place(&spec.tensors, part.file)?,
            weight: part.samples as f64 / samples as f64,
            delta: part.delta,
        });
    }
    let merge = Merge {
        codec,
        schema: &spec.tensors,
        base,
        base_at: layout.header().len() as u64,
        parts: placed,
    };
    let (mut moments, mut bytes) = (Moments::default(), 0);
    let work = |batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>| merge.batch(batch, scratch, out);
    run(Batches::of(&spec.tensors, codec), work, |batch: Moments, coded| {
        moments.add(batch);
        bytes += coded.len() as u64;
        Ok(out.write_all(coded)?)
    })?;
    let fidelity = moments.fidelity().ok_or_else(|| {
        TensorError::bad(
            "update: not finite: a submission holds NaN or infinity, though it was checked: its file has changed",
        )
    })? as f32;
    let least = codec::fidelity_min(&spec.codec);
    if fidelity < least {
        return Err(TensorError::bad(format!(
            "update: {} keeps a fidelity of {fidelity:.6} of it, the model asks for {least} at least: train in smaller steps, or \
             make a model with a finer codec or wider dtypes",
            codec.id()
        )));
    }
    Ok(Coded {
        bytes,
        fidelity,
        samples: samples.min(SAMPLES_MAX),
    })
}

struct PlacedPart<'a> {
    file: &'a dyn Source,
    placement: Placement,
    weight: f64,
    delta: bool,
}

struct Merge<'a> {
    codec: Codec,
    schema: &'a [TensorSpec],
    base: &'a dyn Source,
    base_at: u64,
    parts: Vec<PlacedPart<'a>>,
}

impl Merge<'_> {
    fn batch(&self, batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<Moments, TensorError> {
        let Scratch {
            base,
            input,
            sum,
            decoded,
            ..
        } = scratch;
        let base = bytes_at(self.base, self.base_at + batch.plain_at, batch.plain_bytes(), base)?;
        out.resize(batch.coded_bytes(), 0);
        let mut moments = Moments::default();
        for piece in &batch.pieces {
            let base = &base[piece.plain.clone()];
            let out = &mut out[piece.coded.clone()];
            let dtype = piece.dtype;
            let offset = piece.start * dtype.bytes() as u64;
            if !dtype.is_float() {
                self.merge_integers(dtype, piece.tensor, offset, base, input, out)?;
                continue;
            }
            sum.clear();
            sum.resize(piece.elements.len(), 0.0);
            for part in &self.parts {
                let at = part.placement.offsets[piece.tensor] + offset;
                let x = bytes_at(part.file, at, base.len(), input)?;
                if part.delta {
                    float::accumulate(dtype, sum, x, part.weight);
                } else {
                    float::accumulate_difference(dtype, sum, x, base, part.weight);
                }
            }
            self.check_range(piece.tensor, "the update changes an element by", sum, self.codec)?;
            if self.parts.iter().any(|part| part.delta) {
                // Weights are always in their dtype's range, but a base with a delta added to it may be beyond.
                decoded.clone_from(sum);
                float::accumulate(dtype, decoded, base, 1.0);
                self.check_range(piece.tensor, "with the delta on it an element is", decoded, Codec::None)?;
            }
            block::encode(self.codec, dtype, sum, out);
            decoded.resize(sum.len(), 0.0);
            block::decode(self.codec, dtype, out, decoded);
            moments.add(Moments::of(dtype, sum, decoded));
        }
        Ok(moments)
    }

    /// Refuses elements that would be cut to the largest number of their format: if one element among many is cut, the
    /// fidelity does not show it.
    fn check_range(&self, tensor: usize, what: &str, elements: &[f64], codec: Codec) -> Result<(), TensorError> {
        let TensorSpec { name, dtype, .. } = &self.schema[tensor];
        let most = codec.largest(*dtype);
        if !float::any_beyond(elements, most) {
            return Ok(());
        }
        let largest = elements.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        Err(TensorError::bad(format!(
            "tensor {name:?}: {what} {largest:e}, {} of {} holds at most {most:e}: train in smaller steps, or make a model with a \
             wider dtype",
            codec.id(),
            dtype.name()
        )))
    }

    fn merge_integers(
        &self,
        dtype: Dtype,
        tensor: usize,
        offset: u64,
        base: &[u8],
        input: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<(), TensorError> {
        let mut value = vec![0; base.len()];
        for (i, part) in self.parts.iter().enumerate() {
            let x = bytes_at(part.file, part.placement.offsets[tensor] + offset, base.len(), input)?;
            if part.delta {
                integer::add(dtype, base, x, &mut value);
            } else {
                value.copy_from_slice(x);
            }
            if i == 0 {
                out.copy_from_slice(&value);
            } else {
                integer::keep_largest(dtype, out, &value);
            }
        }
        Ok(())
    }
}
