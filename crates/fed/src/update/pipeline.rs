//! Batches worked on by all threads, their results taken in order.

use rayon::prelude::*;

use super::batch::{Batch, Batches};
use crate::tensor::{Source, TensorError};

/// Batches in hand for each thread: a few, so that one slow read does not leave the others idle.
const BATCHES_PER_THREAD: usize = 4;
/// Batches in hand at most; twice that many buffers of about half a MiB exist, so this bounds the memory on any machine.
const WINDOW_MAX: usize = 32;

/// Buffers of one batch, used again and again.
#[derive(Default)]
pub(super) struct Scratch {
    /// The batch's result.
    pub out: Vec<u8>,
    /// The base's bytes.
    pub base: Vec<u8>,
    /// Bytes of what is being added.
    pub input: Vec<u8>,
    /// Bytes of several that are added in one go.
    pub inputs: Vec<Vec<u8>>,
    /// Sums.
    pub sum: Vec<f64>,
    /// What a receiver will decode.
    pub decoded: Vec<f64>,
}

struct Slot<R> {
    batch: Batch,
    scratch: Scratch,
    result: Result<R, TensorError>,
}

/// Does `work` on every batch, on all threads, and hands its answer and output to `done`, on this thread and in order. While one window of
/// batches is handed over the next one is worked on. The first error, in the batches' order, ends it.
pub(super) fn run<R: Default + Send>(
    batches: Batches<'_>,
    work: impl Fn(&Batch, &mut Scratch) -> Result<R, TensorError> + Sync,
    mut done: impl FnMut(R, &[u8]) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    let window = (rayon::current_num_threads() * BATCHES_PER_THREAD).min(WINDOW_MAX);
    let mut batches = batches.fuse();
    let (mut finished, mut running) = (Vec::new(), Vec::new());
    loop {
        let filled = fill(&mut running, &mut batches, window);
        let slots: &mut [Slot<R>] = &mut running[..filled];
        let work = &work;
        rayon::in_place_scope(|scope| {
            scope.spawn(move |_| {
                slots
                    .par_iter_mut()
                    .with_max_len(1)
                    .for_each(|slot| slot.result = work(&slot.batch, &mut slot.scratch));
            });
            hand_over(&mut finished, &mut done)
        })?;
        if filled == 0 {
            return Ok(());
        }
        running.truncate(filled);
        std::mem::swap(&mut finished, &mut running);
    }
}

fn fill<R: Default>(slots: &mut Vec<Slot<R>>, batches: &mut impl Iterator<Item = Batch>, window: usize) -> usize {
    let mut filled = 0;
    for batch in batches.take(window) {
        match slots.get_mut(filled) {
            Some(slot) => slot.batch = batch,
            None => slots.push(Slot {
                batch,
                scratch: Scratch::default(),
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
        done(result, &slot.scratch.out)?;
    }
    Ok(())
}

/// Bytes of a source: borrowed where it lends them, else read into `buffer`.
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
