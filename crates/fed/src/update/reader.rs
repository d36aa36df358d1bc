//! Coded updates as their batches' bytes.
//!
//! All codecs give a batch the same way: bytes in the layout that the batch's pieces state. Those of most codecs stand so in the
//! update. Those of `tcq/1` are decoded, a chunk for each batch.

use super::batch::{Batch, Batches, Piece};
use super::source::bytes_at;
use crate::codec::Codec;
use crate::codec::tcq::{Decoded, Decoder, HEADER_MAX, Header};
use crate::record::{Dtype, Spec};
use crate::tensor::{Source, TensorError};

/// Length in the index of a chunk whose floats are not coded.
pub(super) const NOT_CODED: u16 = u16::MAX;
/// Chunks between two that have their offset in memory.
const STRIDE: usize = 64;
/// Bytes of the index that are read at a time.
const INDEX_READ: usize = 1 << 15;

/// A coded update whose length, header and index are checked.
pub(super) struct Reader<'a> {
    update: &'a dyn Source,
    chunks: Option<Chunks>,
}

/// Buffers for reading updates.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// The batch's bytes, one buffer for each update that is read at once.
    pub batches: Vec<Vec<u8>>,
    pub chunk: ChunkBuffers,
}

/// Buffers for decoding a chunk.
#[derive(Debug, Default)]
pub(super) struct ChunkBuffers {
    coded: Vec<u8>,
    decoded: Decoded,
}

impl<'a> Reader<'a> {
    /// Opens an update of this spec. Its length must be one that the spec allows, and for `tcq/1` the one that its header and
    /// its index give.
    pub fn open(spec: &Spec, codec: Codec, update: &'a dyn Source) -> Result<Self, TensorError> {
        let expected = codec.lengths(&spec.tensors);
        if !expected.contains(&update.len()) {
            let (least, most) = expected.into_inner();
            let range = if least == most {
                least.to_string()
            } else {
                format!("{least} to {most}")
            };
            return Err(TensorError::bad(format!(
                "update: {range} bytes expected for this model's {} tensors coded with {}, {} found: it is cut \
                 off, or coded for another spec",
                spec.tensors.len(),
                codec.id(),
                update.len()
            )));
        }
        let chunks = match codec {
            Codec::Tcq => Some(Chunks::open(spec, update)?),
            _ => None,
        };
        Ok(Self { update, chunks })
    }

    /// Returns the bytes of a batch. They are lent by the update if it can, or stand in `buffer`.
    pub fn batch<'b>(
        &self,
        batch: &Batch,
        buffer: &'b mut Vec<u8>,
        scratch: &mut ChunkBuffers,
    ) -> Result<&'b [u8], TensorError>
    where
        'a: 'b,
    {
        match &self.chunks {
            None => bytes_at(self.update, batch.coded_at, batch.coded_bytes(), buffer),
            Some(chunks) => chunks.batch(self.update, batch, buffer, scratch),
        }
    }

    /// Returns the bytes of a batch's piece of integers or booleans.
    pub fn integers<'b>(&self, batch: &Batch, piece: &Piece, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], TensorError>
    where
        'a: 'b,
    {
        let at = match &self.chunks {
            None => batch.coded_at + piece.coded.start as u64,
            Some(chunks) => chunks.start(batch.index) + integer_bytes(batch, piece.elements.start) as u64,
        };
        bytes_at(self.update, at, piece.coded.len(), buffer)
    }
}

/// The chunks of a `tcq/1` update.
struct Chunks {
    decoder: Decoder,
    /// Length of each chunk.
    lengths: Vec<u32>,
    /// Offset of every [`STRIDE`]-th chunk.
    starts: Vec<u64>,
}

impl Chunks {
    fn open(spec: &Spec, update: &dyn Source) -> Result<Self, TensorError> {
        let bad = |problem: &str| TensorError::bad(format!("update: tcq/1: {problem}"));
        let mut buffer = Vec::new();
        let head = bytes_at(update, 0, update.len().min(HEADER_MAX as u64) as usize, &mut buffer)?;
        let (header, length) = Header::read(head).map_err(|problem| bad(&format!("its header: {problem}")))?;
        let batches = || Batches::of(&spec.tensors, Codec::Tcq);
        let count = batches().count();
        let index_bytes = 2 * count as u64;
        let mut at = length as u64;
        let end = update.len().checked_sub(index_bytes).filter(|end| *end >= at);
        let index_at = end.ok_or_else(|| bad("too short for its header and its index"))?;
        let (mut lengths, mut starts) = (Vec::with_capacity(count), Vec::with_capacity(count.div_ceil(STRIDE)));
        let mut entries = &[][..];
        let mut buffer = Vec::new();
        for batch in batches() {
            let i = batch.index;
            if entries.is_empty() {
                let read_at = index_at + 2 * i as u64;
                let bytes = (update.len() - read_at).min(INDEX_READ as u64) as usize;
                entries = bytes_at(update, read_at, bytes, &mut buffer)?;
            }
            let Some((entry, rest)) = entries.split_first_chunk::<2>() else {
                return Err(bad("its index is cut off"));
            };
            entries = rest;
            let coded = chunk_bytes(&batch, u16::from_le_bytes(*entry))
                .ok_or_else(|| bad(&format!("chunk {i} is as long as if it were not coded")))?;
            if i % STRIDE == 0 {
                starts.push(at);
            }
            lengths.push(coded);
            at += u64::from(coded);
        }
        if at != index_at {
            return Err(bad(&format!(
                "the chunks in its index are {at} bytes with the header, {index_at} stand before the index"
            )));
        }
        Ok(Self {
            decoder: Decoder::new(&header),
            lengths,
            starts,
        })
    }

    fn start(&self, chunk: usize) -> u64 {
        let lengths = &self.lengths[chunk / STRIDE * STRIDE..chunk];
        self.starts[chunk / STRIDE] + lengths.iter().map(|length| u64::from(*length)).sum::<u64>()
    }

    fn batch<'b>(
        &self,
        update: &'b dyn Source,
        batch: &Batch,
        buffer: &'b mut Vec<u8>,
        scratch: &mut ChunkBuffers,
    ) -> Result<&'b [u8], TensorError> {
        let (at, length) = (self.start(batch.index), self.lengths[batch.index] as usize);
        let integers = integer_bytes(batch, batch.elements());
        if length == batch.coded_bytes() && (integers == 0 || integers == length) {
            return bytes_at(update, at, length, buffer);
        }
        let coded = bytes_at(update, at, length, &mut scratch.coded)?;
        let (mut integers, floats) = coded.split_at(integers);
        buffer.resize(batch.coded_bytes(), 0);
        let mut plain = (length == batch.coded_bytes()).then_some(floats);
        if plain.is_none() && !self.decoder.decode(floats, float_elements(batch), &mut scratch.decoded) {
            return Err(TensorError::bad(format!(
                "update: chunk {} of tensor {} on is not what tcq/1 makes: it is damaged",
                batch.index, batch.pieces[0].tensor
            )));
        }
        let mut positions = scratch.decoded.positions();
        for piece in &batch.pieces {
            let out = &mut buffer[piece.coded.clone()];
            match (piece.dtype.is_float(), &mut plain) {
                (false, _) => take(&mut integers, out),
                (true, Some(floats)) => take(floats, out),
                (true, None) => {
                    let (these, rest) = positions.split_at(piece.elements.len());
                    positions = rest;
                    match piece.dtype {
                        Dtype::F64 => self.decoder.doubles(these, out),
                        _ => self.decoder.singles(these, out),
                    }
                }
            }
        }
        Ok(buffer)
    }
}

/// Fills `out` with the next bytes.
fn take(bytes: &mut &[u8], out: &mut [u8]) {
    let (these, rest) = bytes.split_at(out.len());
    out.copy_from_slice(these);
    *bytes = rest;
}

/// Returns the length of a chunk with this entry in the index, or `None` if its floats are longer than if they were not coded.
fn chunk_bytes(batch: &Batch, entry: u16) -> Option<u32> {
    let integers = integer_bytes(batch, batch.elements());
    let floats = batch.coded_bytes() - integers;
    let coded = match entry {
        NOT_CODED => floats,
        coded if usize::from(coded) < floats || floats == 0 && coded == 0 => usize::from(coded),
        _ => return None,
    };
    Some((integers + coded) as u32)
}

/// Returns the bytes of the integers and booleans before this element of the batch. They are the first bytes of a chunk.
fn integer_bytes(batch: &Batch, before: usize) -> usize {
    let pieces = batch.pieces.iter().take_while(|piece| piece.elements.start < before);
    pieces
        .filter(|piece| !piece.dtype.is_float())
        .map(|piece| piece.coded.len())
        .sum()
}

/// Returns the number of floats in a batch.
pub(super) fn float_elements(batch: &Batch) -> usize {
    let pieces = batch.pieces.iter().filter(|piece| piece.dtype.is_float());
    pieces.map(|piece| piece.elements.len()).sum()
}
