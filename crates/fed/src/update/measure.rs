//! The first pass over an update that is coded with one step for all of it: its size, and samples of it.

use super::Moments;
use super::batch::{Batch, Batches};
use super::merge::Merge;
use super::pipeline::{Scratch, run};
use super::reader::float_elements;
use crate::codec::Codec;
use crate::codec::tcq::{CHUNK, Sample};
use crate::record::TensorSpec;
use crate::tensor::TensorError;

/// Elements that are kept as samples, and up to twice as many if there are many chunks: 4 MiB in f64. The error of as many is known to 0.13 %.
const SAMPLED_MAX: u64 = 1 << 19;
/// Least number of elements of a sample.
const RUN_LEAST: u64 = 1 << 10;
/// Elements at both ends of a sample that are not measured: 16 for each lane of the trellis. Without them the error of runs of
/// 1,024 elements was 1.4 % above that of chunks.
const EDGE: usize = 128;

/// Consecutive chunks for which one sample stands.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Number of float elements in the chunks.
    pub elements: u64,
    x: Vec<f64>,
}

/// What the first pass finds.
pub(super) struct Measured {
    /// Inner products of the update with itself.
    pub moments: Moments,
    /// Number of float elements.
    pub elements: u64,
    /// Chunks in a group.
    pub stride: usize,
    pub groups: Vec<Group>,
}

impl Measured {
    /// Goes through the update.
    pub fn of(schema: &[TensorSpec], merge: &Merge<'_>) -> Result<Self, TensorError> {
        let batches = || Batches::of(schema, Codec::Tcq);
        let (count, elements) = batches().fold((0, 0), |(count, sum), batch| {
            (count + 1, sum + float_elements(&batch) as u64)
        });
        // Each chunk has a sample, or with very many chunks the first one of each group.
        let run_elements = (SAMPLED_MAX / count.max(1)).clamp(RUN_LEAST, CHUNK as u64) / 256 * 256;
        let whole = elements <= SAMPLED_MAX;
        let stride = match whole {
            true => 1,
            false => elements.min(count * run_elements).div_ceil(2 * SAMPLED_MAX).max(1) as usize,
        };
        let mut measured = Self {
            moments: Moments::default(),
            elements,
            stride,
            groups: vec![],
        };
        let work = |batch: &Batch, scratch: &mut Scratch, _: &mut Vec<u8>| {
            let Scratch {
                merge: buffers, sum, ..
            } = scratch;
            merge.all_floats(batch, buffers, sum)?;
            let mut moments = Moments::default();
            let mut rest = sum.as_slice();
            for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
                let (these, others) = rest.split_at(piece.elements.len());
                rest = others;
                moments.add(Moments::of(piece.dtype, these, these));
            }
            let of_chunk = match (whole, batch.index % stride) {
                (true, _) => sum.clone(),
                (false, 0) => sample(sum, batch.index / stride, run_elements as usize).to_vec(),
                _ => vec![],
            };
            Ok((moments, sum.len() as u64, of_chunk))
        };
        let mut index = 0;
        run(
            batches(),
            work,
            |(moments, elements, x): (Moments, u64, Vec<f64>), _| {
                if index % stride == 0 {
                    measured.groups.push(Group::default());
                }
                index += 1;
                measured.moments.add(moments);
                if let Some(group) = measured.groups.last_mut() {
                    group.elements += elements;
                    group.x.extend(x);
                }
                Ok(())
            },
        )?;
        Ok(measured)
    }

    /// Takes the samples, one for each group.
    pub fn take_samples(&mut self) -> Vec<Sample> {
        let sample = |group: &mut Group| {
            let x = std::mem::take(&mut group.x);
            // A run that is the whole of its chunks has nothing beside it.
            let whole = x.len() as u64 == group.elements;
            let edge = if whole { 0 } else { EDGE.min(x.len() / 4) };
            Sample {
                weight: group.elements as f64 / (x.len() - 2 * edge).max(1) as f64,
                edge,
                x,
            }
        };
        self.groups.iter_mut().map(sample).collect()
    }
}

/// Returns a run of a chunk; where it lies differs from chunk to chunk.
fn sample(x: &[f64], number: usize, elements: usize) -> &[f64] {
    let runs = (x.len() / elements).max(1);
    let at = number * 5 % runs * elements;
    &x[at..x.len().min(at + elements)]
}
