//! The last step of an aggregation: from the aggregated update to the new weights, and to the new state of the optimiser.

use super::outputs::Outputs;
use super::parent::Parent;
use crate::codec::float;
use crate::optimiser::{Optimiser, state_dtype};
use crate::record::Spec;
use crate::strategy;
use crate::tensor::{Layout, TensorError};
use crate::update::batch::{Batch, Piece};
use crate::update::pipeline::StepBuffers;
use crate::update::source::bytes_at;

/// The step from a parent to the next checkpoint.
pub(super) struct Step<'a> {
    parent: Parent<'a>,
    layout: Layout,
    state: Option<State>,
}

/// The optimiser, and the place of each tensor's moments in the file of its state.
struct State {
    optimiser: Optimiser,
    layout: Layout,
    /// Offset of the first moment, for each of the model's tensors; 0 for those that have none.
    offsets: Vec<u64>,
}

impl<'a> Step<'a> {
    /// Checks that the parent's files are the spec's.
    pub fn new(spec: &Spec, parent: Parent<'a>) -> Result<Self, TensorError> {
        let layout = Layout::of(&spec.tensors);
        layout.check(parent.weights)?;
        let state = strategy::optimiser(&spec.strategy).map(|optimiser| State::new(spec, optimiser));
        if let (Some(state), Some(file)) = (&state, parent.optimiser) {
            state.layout.check(file)?;
        }
        Ok(Self { parent, layout, state })
    }

    /// Writes the files' headers.
    pub fn begin(&self, out: &mut Outputs<'_>) -> Result<(), TensorError> {
        out.weights.write_all(self.layout.header())?;
        if let Some(state) = &self.state {
            out.state()?.write_all(state.layout.header())?;
        }
        Ok(())
    }

    /// Takes the step for a batch whose aggregated update is `update`: writes the batch's floats into `out`, which holds the
    /// batch of the canonical file, and appends the new moments. The numbers of `update` are lost.
    pub fn batch(
        &self,
        batch: &Batch,
        update: &mut [f64],
        buffers: &mut StepBuffers,
        out: &mut Vec<u8>,
    ) -> Result<(), TensorError> {
        let StepBuffers {
            base,
            state: coded,
            moments,
        } = buffers;
        let plain_at = self.layout.header().len() as u64 + batch.plain_at;
        let base = bytes_at(self.parent.weights, plain_at, batch.plain_bytes(), base)?;
        for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
            let update = &mut update[piece.elements.clone()];
            if let Some(state) = &self.state {
                state.read(&self.parent, piece, coded, moments)?;
                state.optimiser.step(update, moments);
                state.append(piece, moments, out);
            }
            let plain = piece.plain.clone();
            float::add_rounded(piece.dtype, &base[plain.clone()], update, &mut out[plain]);
        }
        Ok(())
    }

    /// Writes a batch, of which the first `plain` bytes are those of the canonical file.
    pub fn write(&self, plain: usize, bytes: &[u8], out: &mut Outputs<'_>) -> Result<(), TensorError> {
        let (weights, moments) = bytes.split_at(plain);
        out.weights.write_all(weights)?;
        if !moments.is_empty() {
            out.state()?.write_all(moments)?;
        }
        Ok(())
    }
}

impl State {
    fn new(spec: &Spec, optimiser: Optimiser) -> Self {
        let layout = Layout::of(&optimiser.state_schema(&spec.tensors));
        let mut slots = layout.slots().iter();
        let offset = |is_float| match is_float {
            true => slots.next().map_or(0, |slot| slot.offset),
            false => 0,
        };
        let offsets = spec
            .tensors
            .iter()
            .map(|tensor| tensor.dtype.is_float())
            .map(offset)
            .collect();
        Self {
            optimiser,
            layout,
            offsets,
        }
    }

    /// Reads the moments of a piece; those from before the first round if the parent has none.
    fn read(
        &self,
        parent: &Parent<'_>,
        piece: &Piece,
        coded: &mut Vec<u8>,
        moments: &mut Vec<f64>,
    ) -> Result<(), TensorError> {
        let each = self.optimiser.moments();
        moments.resize(piece.elements.len() * each, 0.0);
        let Some(file) = parent.optimiser else {
            self.optimiser.begin(moments);
            return Ok(());
        };
        let dtype = state_dtype(piece.dtype);
        let width = (each * dtype.bytes()) as u64;
        let at = self.offsets[piece.tensor] + piece.start * width;
        let bytes = bytes_at(file, at, moments.len() * dtype.bytes(), coded)?;
        float::decode_elements(dtype, bytes, moments);
        Ok(())
    }

    fn append(&self, piece: &Piece, moments: &[f64], out: &mut Vec<u8>) {
        let dtype = state_dtype(piece.dtype);
        let at = out.len();
        out.resize(at + moments.len() * dtype.bytes(), 0);
        float::round(dtype, moments, &mut out[at..]);
    }
}
