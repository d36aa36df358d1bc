//! The decoder of chunks.

use super::ans::{BLOCK, Decoding, Reader, decode};
use super::classes::class_bits;
use super::header::Header;
use crate::codec::rounding::{to_f32, to_f64};

/// Decodes the chunks of one update.
#[derive(Debug)]
pub struct Decoder {
    step: f64,
    tables: Vec<Decoding>,
}

/// Buffers of a decoder.
#[derive(Debug, Default)]
pub struct Decoded {
    positions: Vec<i32>,
    classes: Vec<u8>,
    reader: Reader,
}

impl Decoded {
    /// Returns the positions.
    pub fn positions(&self) -> &[i32] {
        &self.positions
    }
}

impl Decoder {
    /// Makes the decoder for a header.
    pub fn new(header: &Header) -> Self {
        Self {
            step: header.step,
            tables: header.tables.iter().map(Decoding::new).collect(),
        }
    }

    /// Decodes the positions of a chunk of this many elements. Returns false if no encoder makes these bytes.
    #[must_use]
    pub fn decode(&self, bytes: &[u8], elements: usize, out: &mut Decoded) -> bool {
        out.positions.resize(elements, 0);
        if bytes.is_empty() {
            out.positions.fill(0);
            return true;
        }
        let (blocks, bits) = (elements.div_ceil(BLOCK), class_bits(self.tables.len()) as usize);
        let Some((classes, words)) = bytes.split_at_checked((blocks * bits).div_ceil(8)) else {
            return false;
        };
        out.classes.clear();
        out.classes.extend((0..blocks).map(|block| {
            let bit = |bit: usize| {
                let place = block * bits + bit;
                (classes[place / 8] >> (place % 8) & 1) << bit
            };
            (0..bits).map(bit).sum::<u8>()
        }));
        decode(words, &out.classes, &self.tables, &mut out.reader, &mut out.positions)
    }

    /// Writes the values of positions as f32, little-endian: position × step, computed in f64 and rounded once.
    pub fn singles(&self, positions: &[i32], out: &mut [u8]) {
        singles(self.step, positions, out.as_chunks_mut().0);
    }

    /// Writes the values of positions as f64, little-endian.
    pub fn doubles(&self, positions: &[i32], out: &mut [u8]) {
        for (position, out) in positions.iter().zip(out.as_chunks_mut().0) {
            *out = to_f64(f64::from(*position) * self.step).to_le_bytes();
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn singles(step: f64, positions: &[i32], out: &mut [[u8; 4]]) {
    for (position, out) in positions.iter().zip(out) {
        *out = to_f32(f64::from(*position) * step).to_le_bytes();
    }
}
