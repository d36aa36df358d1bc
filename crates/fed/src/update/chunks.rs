//! The coding of an update as chunks of `tcq/1`.

use std::io::Write;

use super::Moments;
use super::batch::{Batch, Batches};
use super::measure::Measured;
use super::merge::Merge;
use super::pipeline::{Scratch, run};
use super::reader::{NOT_CODED, float_elements};
use crate::codec::tcq::{Encoder, Goal, Header};
use crate::codec::{Codec, block};
use crate::record::{Dtype, TensorSpec};
use crate::tensor::TensorError;

/// What is kept back of the allowed error for the rounding of sums.
const MARGIN: f64 = 5e-7;
/// How an update is coded.
enum Plan {
    /// All of it is zero: chunks have no bytes.
    Zero,
    /// Not at all: it is too small for tables, or its elements are too far apart.
    Plain,
    /// With an encoder. The errors that are expected of the groups of chunks, as shares of the update's square.
    Coded(Box<Encoder>, Vec<f64>),
}

/// Writes the update so that its fidelity is at least this one. Returns its moments and its length.
///
/// The first pass finds the step on samples, the second one codes. If a chunk's error would leave too little for the chunks that
/// follow, it is sent as it is, without an error. So the whole error is never above the allowed one, even where the samples
/// were not like the rest.
pub(super) fn encode_chunks(
    schema: &[TensorSpec],
    merge: &Merge<'_>,
    fidelity: f64,
    out: &mut dyn Write,
) -> Result<(Moments, u64), TensorError> {
    let mut measured = Measured::of(schema, merge)?;
    measured.moments.check()?;
    let allowed = (1.0 - fidelity).max(0.0);
    let plan = plan(schema, &mut measured, allowed);
    let header = match &plan {
        Plan::Coded(encoder, _) => encoder.header().to_bytes(),
        _ => Header::empty().to_bytes(),
    };
    out.write_all(&header)?;
    let mut index: Vec<u8> = Vec::with_capacity(2 * measured.groups.len());
    let (mut moments, mut bytes) = (Moments::default(), header.len() as u64);
    let mut budget = Budget::new(allowed, &plan, &measured);
    let work = |batch: &Batch, scratch: &mut Scratch, out: &mut Vec<u8>| code(merge, &plan, batch, scratch, out);
    // The batches once more, for those that are coded again.
    let (mut batches, mut scratch, mut again) = (Batches::of(schema, Codec::Tcq), Scratch::default(), Vec::new());
    run(Batches::of(schema, Codec::Tcq), work, |mut chunk: Chunk, coded| {
        let batch = batches.next().unwrap_or_default();
        let fits = budget.fits(&batch, chunk.moments.error_in(&measured.moments));
        if fits || chunk.entry == NOT_CODED {
            again.clear();
            again.extend_from_slice(coded);
        } else {
            chunk = code(merge, &Plan::Plain, &batch, &mut scratch, &mut again)?;
        }
        budget.spent += chunk.moments.error_in(&measured.moments);
        moments.add(chunk.moments);
        bytes += again.len() as u64;
        index.extend_from_slice(&chunk.entry.to_le_bytes());
        Ok(out.write_all(&again)?)
    })?;
    out.write_all(&index)?;
    Ok((moments, bytes + index.len() as u64))
}

fn plan(schema: &[TensorSpec], measured: &mut Measured, allowed: f64) -> Plan {
    if measured.moments.is_zero() {
        return Plan::Zero;
    }
    let samples = measured.take_samples();
    let goal = Goal {
        rms: measured.moments.rms(measured.elements),
        elements: measured.elements as f64,
        error: allowed,
    };
    let plain = |tensor: &&TensorSpec| tensor.dtype.is_float();
    let plain: u64 = schema
        .iter()
        .filter(plain)
        .map(|tensor| Codec::Tcq.tensor_bytes(tensor))
        .sum();
    match goal.search(&samples) {
        // The states of the first chunk are 16 bytes.
        Some(found) if found.bits / 8.0 + 16.0 < plain as f64 => Plan::Coded(Box::new(found.encoder), found.errors),
        _ => Plan::Plain,
    }
}

/// The error that is allowed, and what of it is spent.
struct Budget<'a> {
    allowed: f64,
    spent: f64,
    /// What the chunks that follow are expected to need.
    needed: f64,
    errors: &'a [f64],
    measured: &'a Measured,
}

impl<'a> Budget<'a> {
    fn new(allowed: f64, plan: &'a Plan, measured: &'a Measured) -> Self {
        let errors = match plan {
            Plan::Coded(_, errors) => errors.as_slice(),
            _ => &[],
        };
        Self {
            allowed: allowed * (1.0 - MARGIN),
            spent: 0.0,
            needed: errors.iter().sum(),
            errors,
            measured,
        }
    }

    /// Returns true if after this error of the next chunk enough is left for the chunks that follow.
    fn fits(&mut self, batch: &Batch, error: f64) -> bool {
        let group = batch.index / self.measured.stride;
        if let (Some(expected), Some(of)) = (self.errors.get(group), self.measured.groups.get(group)) {
            let share = float_elements(batch) as f64 / of.elements.max(1) as f64;
            self.needed = (self.needed - expected * share).max(0.0);
        }
        self.spent + error + self.needed <= self.allowed
    }
}

/// A chunk that is coded.
#[derive(Default)]
struct Chunk {
    moments: Moments,
    /// Its entry in the index.
    entry: u16,
}

/// Codes one chunk: its integers and booleans as they are, then its floats.
fn code(
    merge: &Merge<'_>,
    plan: &Plan,
    batch: &Batch,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<Chunk, TensorError> {
    let Scratch {
        merge: buffers,
        sum,
        decoded,
        chunk,
        ..
    } = scratch;
    out.clear();
    merge.all_integers(batch, buffers, out)?;
    merge.all_floats(batch, buffers, sum)?;
    let integers = out.len();
    let floats = batch.coded_bytes() - integers;
    if let Plan::Coded(encoder, _) = plan {
        let positions = encoder.encode(sum, chunk, out);
        let coded = out.len() - integers;
        if coded < floats.min(usize::from(NOT_CODED)) || floats == 0 {
            let moments = of_pieces(batch, sum, decoded, |dtype, at, _, y| {
                encoder.decode(&positions[at..at + y.len()], dtype == Dtype::F64, y);
            });
            return Ok(Chunk {
                moments,
                entry: coded as u16,
            });
        }
        out.truncate(integers);
    }
    if matches!(plan, Plan::Zero) || floats == 0 {
        let moments = of_pieces(batch, sum, decoded, |_, _, _, y| y.fill(0.0));
        return Ok(Chunk { moments, entry: 0 });
    }
    let mut bytes = Vec::new();
    let moments = of_pieces(batch, sum, decoded, |dtype, _, x, y| {
        bytes.clear();
        bytes.resize(Codec::Tcq.run_bytes(dtype, x.len()), 0);
        block::encode(Codec::Tcq, dtype, x, &mut bytes);
        block::decode(Codec::Tcq, dtype, &bytes, y);
        out.extend_from_slice(&bytes);
    });
    Ok(Chunk {
        moments,
        entry: NOT_CODED,
    })
}

/// Returns the moments of a batch's floats `x` and of the values that `decode` writes for each piece.
fn of_pieces(
    batch: &Batch,
    x: &[f64],
    decoded: &mut Vec<f64>,
    mut decode: impl FnMut(Dtype, usize, &[f64], &mut [f64]),
) -> Moments {
    let (mut moments, mut at) = (Moments::default(), 0);
    for piece in batch.pieces.iter().filter(|piece| piece.dtype.is_float()) {
        let x = &x[at..at + piece.elements.len()];
        decoded.resize(x.len(), 0.0);
        decode(piece.dtype, at, x, decoded);
        moments.add(Moments::of(piece.dtype, x, decoded));
        at += x.len();
    }
    moments
}
