//! A model cut into batches: runs of elements that stand together in the coded update and in the canonical file.

use std::ops::Range;

use crate::codec::Codec;
use crate::record::{Dtype, TensorSpec};

/// Elements of a batch. 16 Ki: the f64 sums (128 KiB), the base and an update's part of it fit into 512 KiB of L2, and
/// a read is still long enough (32 KiB in bf16) that the system call does not show. A multiple of the codecs' own
/// block.
pub(crate) const BATCH_ELEMENTS: usize = 1 << 14;

/// Elements of one tensor within a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Which tensor of the schema.
    pub tensor: usize,
    /// Its element type.
    pub dtype: Dtype,
    /// The first element, counted in the tensor; a multiple of [`BATCH_ELEMENTS`].
    pub start: u64,
    /// Where they stand among the batch's elements.
    pub elements: Range<usize>,
    /// Where they stand in the batch's part of the canonical file.
    pub plain: Range<usize>,
    /// Where they stand in the batch's part of the coded update.
    pub coded: Range<usize>,
}

/// Consecutive pieces, [`BATCH_ELEMENTS`] elements at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// None of them empty.
    pub pieces: Vec<Piece>,
    /// First byte in the canonical file, after its header.
    pub plain_at: u64,
    /// First byte in the coded update.
    pub coded_at: u64,
}

impl Batch {
    /// Elements in it.
    pub fn elements(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.elements.end)
    }
    /// Bytes in the canonical file.
    pub fn plain_bytes(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.plain.end)
    }
    /// Bytes in the coded update.
    pub fn coded_bytes(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.coded.end)
    }
}

/// All batches of a schema, in order.
pub(super) struct Batches<'a> {
    schema: &'a [TensorSpec],
    codec: Codec,
    tensor: usize,
    start: u64,
    plain_at: u64,
    coded_at: u64,
}

impl<'a> Batches<'a> {
    /// Those of a checked schema.
    pub fn of(schema: &'a [TensorSpec], codec: Codec) -> Self {
        Self {
            schema,
            codec,
            tensor: 0,
            start: 0,
            plain_at: 0,
            coded_at: 0,
        }
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch {
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
            let length = left.min(BATCH_ELEMENTS as u64) as usize;
            let (element, plain, coded) = (batch.elements(), batch.plain_bytes(), batch.coded_bytes());
            // A tensor is cut at multiples of the batch only, so that no codec's block is.
            if element + length > BATCH_ELEMENTS {
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
        self.plain_at += batch.plain_bytes() as u64;
        self.coded_at += batch.coded_bytes() as u64;
        (!batch.pieces.is_empty()).then_some(batch)
    }
}
