//! Batches of a model: runs of elements that are contiguous in the coded update and in the canonical file.

use std::ops::Range;

use crate::codec::Codec;
use crate::codec::tcq::CHUNK;
use crate::record::{Dtype, TensorSpec};

/// Largest number of elements in a batch: 16 Ki. The f64 sums (128 KiB), the base and one update's part then fit into 512
/// KiB of L2 cache, and a read is long enough (32 KiB in bf16) that the cost of the system call does not show. A multiple
/// of the 256 elements of an `int8/1` block, and a chunk of `tcq/1`.
pub(crate) const BATCH_ELEMENTS: usize = CHUNK;

/// Smallest batch for work that reads many updates at once; a multiple of every codec's block, too.
const BATCH_ELEMENTS_MIN: usize = 1 << 10;
/// Elements of updates that one thread holds at once: 8 MiB in f64.
const ELEMENTS_AT_ONCE: usize = 1 << 20;

/// The elements of one tensor within a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Index of the tensor in the schema.
    pub tensor: usize,
    /// The tensor's element type.
    pub dtype: Dtype,
    /// Index of the first element in the tensor; a multiple of the batches' size.
    pub start: u64,
    /// Positions of the elements among the batch's elements.
    pub elements: Range<usize>,
    /// Positions of their bytes in the batch's part of the canonical file.
    pub plain: Range<usize>,
    /// Positions of their bytes in the batch's part of the coded update; for `tcq/1` once it is decoded.
    pub coded: Range<usize>,
}

/// A batch of consecutive pieces, at most [`BATCH_ELEMENTS`] elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// Its number among the schema's batches.
    pub index: usize,
    /// The pieces in the schema's order, none of them empty.
    pub pieces: Vec<Piece>,
    /// Offset of the batch's first byte in the canonical file, counted from the end of its header.
    pub plain_at: u64,
    /// Offset of the batch's first byte in the coded update; of no use for `tcq/1`, whose chunks differ in length.
    pub coded_at: u64,
}

impl Batch {
    /// Returns the number of elements in the batch.
    pub fn elements(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.elements.end)
    }
    /// Returns the batch's number of bytes in the canonical file.
    pub fn plain_bytes(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.plain.end)
    }
    /// Returns the batch's number of bytes in the coded update.
    pub fn coded_bytes(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.coded.end)
    }
}

/// Iterator over every [`Batch`] of a schema, in order.
pub(super) struct Batches<'a> {
    schema: &'a [TensorSpec],
    codec: Codec,
    /// Largest number of elements in a batch.
    most: usize,
    index: usize,
    tensor: usize,
    start: u64,
    plain_at: u64,
    coded_at: u64,
}

impl<'a> Batches<'a> {
    /// Makes the iterator over the batches of a checked schema.
    pub fn of(schema: &'a [TensorSpec], codec: Codec) -> Self {
        Self {
            schema,
            codec,
            most: BATCH_ELEMENTS,
            index: 0,
            tensor: 0,
            start: 0,
            plain_at: 0,
            coded_at: 0,
        }
    }

    /// Makes the batches smaller for work that reads this many updates at once, so that a thread holds at most 2^20 of their
    /// elements: a batch then has 2^20 elements divided by their number rounded up to a power of two, at least 2^10. A chunk
    /// of `tcq/1` stays whole, because it is decoded whole.
    pub fn for_updates(mut self, updates: usize) -> Self {
        if self.codec == Codec::Tcq {
            return self;
        }
        self.most = (ELEMENTS_AT_ONCE / updates.next_power_of_two()).clamp(BATCH_ELEMENTS_MIN, BATCH_ELEMENTS);
        self
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch {
            index: self.index,
            pieces: Vec::new(),
            plain_at: self.plain_at,
            coded_at: self.coded_at,
        };
        while let Some(tensor) = self.schema.get(self.tensor) {
            let left = tensor.elements().unwrap_or(0) - self.start;
            if left == 0 {
                (self.tensor, self.start) = (self.tensor + 1, 0);
                continue;
            }
            let length = left.min(self.most as u64) as usize;
            let (element, plain, coded) = (batch.elements(), batch.plain_bytes(), batch.coded_bytes());
            // A tensor is cut only at multiples of the batch's size, so that no block of a codec is cut.
            if element + length > self.most {
                break;
            }
            batch.pieces.push(Piece {
                tensor: self.tensor,
                dtype: tensor.dtype,
                start: self.start,
                elements: element..element + length,
                plain: plain..plain + length * tensor.dtype.bytes(),
                coded: coded..coded + self.codec.run_bytes(tensor.dtype, length),
            });
            self.start += length as u64;
        }
        self.index += 1;
        self.plain_at += batch.plain_bytes() as u64;
        self.coded_at += batch.coded_bytes() as u64;
        (!batch.pieces.is_empty()).then_some(batch)
    }
}
