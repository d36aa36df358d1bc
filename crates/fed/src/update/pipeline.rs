//! Pipeline in which all threads work on batches and the results are taken in order.

use parking_lot::Mutex;

use super::batch::{Batch, Batches};
use super::merge::MergeBuffers;
use super::reader::Inputs;
use crate::aggregation::{Buffers, Row};
use crate::codec::Element;
use crate::codec::tcq::Buffers as ChunkBuffers;
use crate::tensor::TensorError;

/// Number of batches in one window: 64, which are 2^20 elements. A window ends with its slowest batch; at this length the
/// waiting of the other threads does not show. The results of two windows (8 MiB in f32) and one [`Scratch`] for each
/// thread are all the memory that is used.
const WINDOW: usize = 64;

/// Buffers of one thread, which it uses for one batch after the other.
#[derive(Default)]
pub(super) struct Scratch {
    /// Bytes of the submission or update that is read.
    pub input: Vec<u8>,
    /// Bytes of several updates that are added in one pass.
    pub inputs: Inputs,
    /// Buffers for merging submissions.
    pub merge: MergeBuffers,
    /// Buffers for coding a chunk.
    pub chunk: ChunkBuffers,
    /// Sums of the batch's float elements.
    pub sum: Vec<f64>,
    /// The values that a receiver will decode, or an aggregated update.
    pub decoded: Vec<f64>,
    /// Updates' elements, one row for each member.
    pub rows: Vec<Row<f64>>,
    /// Rows of the members and of vectors made of them, in f32 and in f64.
    pub singles: Rows<f32>,
    pub doubles: Rows<f64>,
    pub step: StepBuffers,
}

/// Buffers for the step from a parent to the next checkpoint.
#[derive(Debug, Default)]
pub(super) struct StepBuffers {
    /// Bytes of the parent's weights.
    pub base: Vec<u8>,
    /// Bytes of the parent's optimiser state.
    pub state: Vec<u8>,
    /// The moments in that state.
    pub moments: Vec<f64>,
}

/// Rows of numbers of one type, for rules that work on coordinates.
#[derive(Debug)]
pub(super) struct Rows<E> {
    /// The members' updates.
    pub members: Vec<Row<E>>,
    /// Vectors made of them.
    pub mixed: Vec<Row<E>>,
    pub buffers: Buffers<E>,
}

impl<E: Element> Default for Rows<E> {
    fn default() -> Self {
        Self {
            members: vec![],
            mixed: vec![],
            buffers: Buffers::default(),
        }
    }
}

struct Slot<R> {
    batch: Batch,
    out: Vec<u8>,
    result: Result<R, TensorError>,
}

/// Runs `work` on every batch, on all threads, and passes its result and output to `done`, on the calling thread and in
/// order. While one window of batches is passed on, the threads work on the next one. The first error, in the batches'
/// order, ends the run.
pub(super) fn run<R: Default + Send>(
    batches: Batches<'_>,
    work: impl Fn(&Batch, &mut Scratch, &mut Vec<u8>) -> Result<R, TensorError> + Sync,
    done: impl FnMut(R, &[u8]) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    run_in(WINDOW, batches, work, done)
}

/// Runs like [`run`] with at most `window` batches in a window, for work with large results.
pub(super) fn run_in<R: Default + Send>(
    window: usize,
    batches: Batches<'_>,
    work: impl Fn(&Batch, &mut Scratch, &mut Vec<u8>) -> Result<R, TensorError> + Sync,
    mut done: impl FnMut(R, &[u8]) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    let window = window.clamp(1, WINDOW);
    let mut scratches: Vec<Scratch> = Vec::new();
    scratches.resize_with(rayon::current_num_threads().min(window), Scratch::default);
    let mut batches = batches.fuse();
    let (mut finished, mut running): (Vec<Slot<R>>, Vec<Slot<R>>) = (Vec::new(), Vec::new());
    loop {
        let filled = fill(&mut running, &mut batches, window);
        running.truncate(filled);
        // Each thread takes the next batch when it has finished one. The lock is held only while a batch is taken.
        let waiting = Mutex::new(running.iter_mut());
        let next = || waiting.lock().next();
        let drain = |scratch: &mut Scratch| {
            while let Some(slot) = next() {
                slot.result = work(&slot.batch, scratch, &mut slot.out);
            }
        };
        rayon::in_place_scope(|scope| {
            for scratch in scratches.iter_mut().take(filled) {
                scope.spawn(|_| drain(scratch));
            }
            hand_over(&mut finished, &mut done)
        })?;
        if filled == 0 {
            return Ok(());
        }
        std::mem::swap(&mut finished, &mut running);
    }
}

/// Fills up to `window` slots with the next batches and returns the number of filled slots.
fn fill<R: Default>(slots: &mut Vec<Slot<R>>, batches: &mut impl Iterator<Item = Batch>, window: usize) -> usize {
    let mut filled = 0;
    for batch in batches.take(window) {
        match slots.get_mut(filled) {
            Some(slot) => slot.batch = batch,
            None => slots.push(Slot {
                batch,
                out: Vec::new(),
                result: Ok(R::default()),
            }),
        }
        filled += 1;
    }
    filled
}

fn hand_over<R: Default>(
    slots: &mut [Slot<R>],
    done: &mut impl FnMut(R, &[u8]) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    for slot in slots {
        let result = std::mem::replace(&mut slot.result, Ok(R::default()))?;
        done(result, &slot.out)?;
    }
    Ok(())
}
