//! Coding of a merged update.

use std::io::Write;

use super::batch::{Batch, Batches};
use super::chunks::encode_chunks;
use super::merge::{Merge, MergeBuffers};
use super::noise::{Mechanism, NoiseKey};
use super::pipeline::{Scratch, run};
use super::{Coded, Moments, Part, codec_of};
use crate::codec::{self, Codec, block};
use crate::privacy;
use crate::record::{SAMPLES_MAX, Spec};
use crate::tensor::{Layout, Source, TensorError};

/// Merges submissions (in the canonical order: ascending by id) on the base's canonical weights and codes the update.
///
/// Floats: the update is the sum over the parts of `samples / total * (weights - base)`, or of `samples / total * delta`,
/// in f64 and in the order given. Integers: the elementwise maximum of the parts' values; a delta is first added (wrapping)
/// to the base. Booleans: "or"; a delta is first combined with the base by "exclusive or". The fidelity compares the f64
/// update with the values that a receiver decodes, over all float tensors together.
///
/// # Errors
/// Returns an error if no part has samples, if a file does not match the schema, if an update is not finite or beyond its
/// codec's range, or if its fidelity is below the model's least; also for a model with noise, see
/// [`merge_and_encode_privately`].
pub fn merge_and_encode(
    spec: &Spec,
    base: &dyn Source,
    parts: &[Part<'_>],
    out: &mut dyn Write,
) -> Result<Coded, TensorError> {
    if privacy::gaussian(spec).is_some() {
        return Err(TensorError::bad("privacy: updates of this model need noise"));
    }
    let (merge, samples) = merged(spec, base, parts)?;
    encode(spec, &merge, samples, out)
}

/// Merges submissions like [`merge_and_encode`], and applies the model's Gaussian mechanism to the update before it is coded:
/// see [`crate::privacy`]. The update then counts as one sample, and integers and booleans stay those of the base. The fidelity
/// is that of the noisy update.
///
/// # Errors
/// As [`merge_and_encode`], and for a model without noise.
pub fn merge_and_encode_privately(
    spec: &Spec,
    base: &dyn Source,
    parts: &[Part<'_>],
    key: NoiseKey,
    out: &mut dyn Write,
) -> Result<Coded, TensorError> {
    let gaussian = privacy::gaussian(spec).ok_or_else(|| TensorError::bad("privacy: the model has no noise"))?;
    let merge = merged(spec, base, parts)?.0.unbounded();
    let mechanism = Mechanism::new(&gaussian, key, length(spec, &merge)?);
    encode(spec, &merge.with(mechanism), 1, out)
}

/// Returns the L2 norm of an update, over all its float tensors.
fn length(spec: &Spec, merge: &Merge<'_>) -> Result<f64, TensorError> {
    let work = |batch: &Batch, scratch: &mut Scratch, _: &mut Vec<u8>| {
        let Scratch {
            merge: buffers, sum, ..
        } = scratch;
        merge.all_floats(batch, buffers, sum)?;
        Ok(sum.iter().fold(0.0, |squares, x| squares + x * x))
    };
    let mut squares = 0.0;
    run(Batches::of(&spec.tensors, codec_of(spec)?), work, |of_batch: f64, _| {
        squares += of_batch;
        Ok(())
    })?;
    Ok(squares.sqrt())
}

/// Returns the update of these parts, and the sum of their samples.
fn merged<'a>(spec: &'a Spec, base: &'a dyn Source, parts: &[Part<'a>]) -> Result<(Merge<'a>, u64), TensorError> {
    let samples = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.samples));
    Ok((Merge::new(spec, codec_of(spec)?, base, parts, samples)?, samples))
}

fn encode(spec: &Spec, merge: &Merge<'_>, samples: u64, out: &mut dyn Write) -> Result<Coded, TensorError> {
    let codec = codec_of(spec)?;
    let least = codec::fidelity_min(&spec.codec);
    let (moments, bytes) = match codec {
        Codec::Tcq => encode_chunks(&spec.tensors, merge, f64::from(least), out)?,
        _ => encode_batches(spec, codec, merge, out)?,
    };
    moments.check()?;
    let fidelity = moments.fidelity().unwrap_or(0.0) as f32;
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

/// Codes an update that changes nothing: a vote for its base.
///
/// # Errors
/// Returns an error if the base is not the canonical file of the spec's schema.
pub fn encode_zeros(spec: &Spec, base: &dyn Source, out: &mut dyn Write) -> Result<Coded, TensorError> {
    let zeros = Zeros(Layout::of(&spec.tensors));
    let part = Part {
        file: &zeros,
        samples: 1,
        steps: Some(1.0),
        delta: true,
    };
    let (merge, samples) = merged(spec, base, &[part])?;
    encode(spec, &merge, samples, out)
}

/// A canonical file whose elements are all 0.
struct Zeros(Layout);

impl Source for Zeros {
    fn len(&self) -> u64 {
        self.0.file_bytes()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        if offset.saturating_add(into.len() as u64) > self.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let header = usize::try_from(offset).ok().and_then(|at| self.0.header().get(at..));
        let header = header.unwrap_or_default();
        let (first, rest) = into.split_at_mut(header.len().min(into.len()));
        first.copy_from_slice(&header[..first.len()]);
        rest.fill(0);
        Ok(())
    }
}

/// Writes an update of a codec whose batches have fixed lengths. Returns its moments and its length.
fn encode_batches(
    spec: &Spec,
    codec: Codec,
    merge: &Merge<'_>,
    out: &mut dyn Write,
) -> Result<(Moments, u64), TensorError> {
    let (mut moments, mut bytes) = (Moments::default(), 0);
    let work =
        |batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>| encode_batch(codec, merge, batch, scratch, out);
    run(Batches::of(&spec.tensors, codec), work, |batch: Moments, coded| {
        moments.add(batch);
        bytes += coded.len() as u64;
        Ok(out.write_all(coded)?)
    })?;
    Ok((moments, bytes))
}

fn encode_batch(
    codec: Codec,
    merge: &Merge<'_>,
    batch: &Batch,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<Moments, TensorError> {
    let Scratch {
        merge: buffers,
        sum,
        decoded,
        ..
    } = scratch;
    let MergeBuffers { base, input, whole } = buffers;
    let base = merge.base(batch, base)?;
    out.resize(batch.coded_bytes(), 0);
    let mut moments = Moments::default();
    for piece in &batch.pieces {
        let (base, out) = (&base[piece.plain.clone()], &mut out[piece.coded.clone()]);
        if !piece.dtype.is_float() {
            merge.integers(piece, base, input, out)?;
            continue;
        }
        sum.resize(piece.elements.len(), 0.0);
        merge.floats(piece, base, sum, input, whole)?;
        block::encode(codec, piece.dtype, sum, out);
        decoded.resize(sum.len(), 0.0);
        block::decode(codec, piece.dtype, out, decoded);
        moments.add(Moments::of(piece.dtype, sum, decoded));
    }
    Ok(moments)
}
