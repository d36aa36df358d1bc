//! A node's submissions as one update, batch by batch.

use super::batch::{Batch, Piece};
use super::noise::Mechanism;
use super::source::bytes_at;
use super::{Part, integer};
use crate::codec::{Codec, float};
use crate::record::{Spec, TensorSpec, mean_by_samples};
use crate::strategy;
use crate::tensor::{Layout, Placement, Source, TensorError, place_submission};

struct PlacedPart<'a> {
    file: &'a dyn Source,
    placement: Placement,
    weight: f64,
    delta: bool,
}

/// The update that a node's submissions make together.
pub(super) struct Merge<'a> {
    codec: Codec,
    schema: &'a [TensorSpec],
    base: &'a dyn Source,
    base_at: u64,
    parts: Vec<PlacedPart<'a>>,
    mechanism: Option<Mechanism>,
    /// True if elements beyond their format's range are refused.
    bounded: bool,
}

/// Returns the factor of each part: 1, or the mean number of steps over its own.
fn factors(parts: &[Part<'_>], normalised: bool) -> Result<Vec<f64>, TensorError> {
    if !normalised || parts.len() == 1 {
        return Ok(vec![1.0; parts.len()]);
    }
    let steps: Option<Vec<f64>> = parts.iter().map(|part| part.steps).collect();
    let Some(steps) = steps else {
        return Err(TensorError::bad("steps: a submission does not say its local steps"));
    };
    let all = parts.iter().zip(&steps).map(|(part, steps)| (*steps, part.samples));
    let mean = mean_by_samples(all).map_or(1.0, |(mean, _)| mean);
    Ok(steps.iter().map(|steps| mean / steps).collect())
}

/// Buffers for one batch of the update.
#[derive(Debug, Default)]
pub(super) struct MergeBuffers {
    pub base: Vec<u8>,
    pub input: Vec<u8>,
    /// The base with the update on it.
    pub whole: Vec<f64>,
}

impl<'a> Merge<'a> {
    /// Makes the update of these parts on the base's canonical weights. `samples` is the sum of theirs. With
    /// FedNova each part counts by the steps of all over its own, as the members of a round do; the update then stands for the
    /// mean number of steps.
    pub fn new(
        spec: &'a Spec,
        codec: Codec,
        base: &'a dyn Source,
        parts: &[Part<'a>],
        samples: u64,
    ) -> Result<Self, TensorError> {
        let schema = &spec.tensors;
        let layout = Layout::of(schema);
        layout.check(base)?;
        if samples == 0 {
            return Err(TensorError::bad(format!(
                "samples: 0 over {} submissions, at least 1 is needed: they are the weights",
                parts.len()
            )));
        }
        let factors = factors(parts, strategy::normalises(&spec.strategy))?;
        let mut placed = Vec::with_capacity(parts.len());
        for (part, factor) in parts.iter().zip(factors) {
            let share = part.samples as f64 / samples as f64;
            placed.push(PlacedPart {
                file: part.file,
                placement: place_submission(schema, part.file)?.shared,
                weight: share * factor,
                delta: part.delta,
            });
        }
        Ok(Self {
            codec,
            schema,
            base,
            base_at: layout.header().len() as u64,
            parts: placed,
            mechanism: None,
            bounded: true,
        })
    }

    /// Lets the mechanism shorten the update and add noise to it. Integers and booleans, to which no noise can be added, then stay
    /// the base's.
    pub fn with(mut self, mechanism: Mechanism) -> Self {
        self.mechanism = Some(mechanism);
        self.bounded = true;
        self
    }

    /// Lets elements be of any size. An update is measured so before a mechanism shortens it.
    pub fn unbounded(mut self) -> Self {
        self.bounded = false;
        self
    }

    /// Returns the base's bytes of a batch.
    pub fn base<'b>(&'b self, batch: &Batch, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], TensorError> {
        bytes_at(self.base, self.base_at + batch.plain_at, batch.plain_bytes(), buffer)
    }

    /// Computes a piece of floats of the update. `base` has the base's bytes of the piece.
    pub fn floats(
        &self,
        piece: &Piece,
        base: &[u8],
        sum: &mut [f64],
        input: &mut Vec<u8>,
        whole: &mut Vec<f64>,
    ) -> Result<(), TensorError> {
        let dtype = piece.dtype;
        sum.fill(0.0);
        for part in &self.parts {
            let at = part.placement.offsets[piece.tensor] + piece.start * dtype.bytes() as u64;
            let x = bytes_at(part.file, at, base.len(), input)?;
            if part.delta {
                float::accumulate(dtype, sum, x, part.weight);
            } else {
                float::accumulate_difference(dtype, sum, x, base, part.weight);
            }
        }
        if let Some(mechanism) = &self.mechanism {
            mechanism.apply(piece.tensor, piece.start, sum);
        }
        self.check_range(piece.tensor, "the update changes an element by", sum, self.codec)?;
        if self.mechanism.is_some() || self.parts.iter().any(|part| part.delta) {
            // Weights are always in their dtype's range, but a base with a delta or noise added to it may be beyond.
            whole.clear();
            whole.extend_from_slice(sum);
            float::accumulate(dtype, whole, base, 1.0);
            self.check_range(piece.tensor, "with the update on it an element is", whole, Codec::None)?;
        }
        Ok(())
    }

    /// Computes all floats of a batch, one piece after the other.
    pub fn all_floats(&self, batch: &Batch, buffers: &mut MergeBuffers, sum: &mut Vec<f64>) -> Result<(), TensorError> {
        let MergeBuffers { base, input, whole } = buffers;
        let base = self.base(batch, base)?;
        let pieces = || batch.pieces.iter().filter(|piece| piece.dtype.is_float());
        sum.resize(pieces().map(|piece| piece.elements.len()).sum(), 0.0);
        let mut rest = sum.as_mut_slice();
        for piece in pieces() {
            let (these, others) = rest.split_at_mut(piece.elements.len());
            rest = others;
            self.floats(piece, &base[piece.plain.clone()], these, input, whole)?;
        }
        Ok(())
    }

    /// Refuses elements that would be cut to the largest number of their format: if one element among many is cut, the
    /// fidelity does not show it.
    fn check_range(&self, tensor: usize, what: &str, elements: &[f64], codec: Codec) -> Result<(), TensorError> {
        let TensorSpec { name, dtype, .. } = &self.schema[tensor];
        let most = codec.largest(*dtype);
        if !self.bounded || !float::any_beyond(elements, most) {
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

    /// Writes a piece of integers or booleans of the update. `base` has the base's bytes of the piece.
    pub fn integers(&self, piece: &Piece, base: &[u8], input: &mut Vec<u8>, out: &mut [u8]) -> Result<(), TensorError> {
        if self.mechanism.is_some() {
            out.copy_from_slice(base);
            return Ok(());
        }
        let (dtype, offset) = (piece.dtype, piece.start * piece.dtype.bytes() as u64);
        let mut value = vec![0; base.len()];
        for (i, part) in self.parts.iter().enumerate() {
            let x = bytes_at(
                part.file,
                part.placement.offsets[piece.tensor] + offset,
                base.len(),
                input,
            )?;
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

    /// Appends the integers and booleans of a batch, one piece after the other.
    pub fn all_integers(
        &self,
        batch: &Batch,
        buffers: &mut MergeBuffers,
        out: &mut Vec<u8>,
    ) -> Result<(), TensorError> {
        let MergeBuffers { base, input, .. } = buffers;
        if batch.pieces.iter().all(|piece| piece.dtype.is_float()) {
            return Ok(());
        }
        let base = self.base(batch, base)?;
        for piece in batch.pieces.iter().filter(|piece| !piece.dtype.is_float()) {
            let at = out.len();
            out.resize(at + piece.coded.len(), 0);
            self.integers(piece, &base[piece.plain.clone()], input, &mut out[at..])?;
        }
        Ok(())
    }
}
