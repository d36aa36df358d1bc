//! The encoder of chunks.

use super::ans::{BLOCK, Coding, Words, encode};
use super::classes::{Classes, class_bits};
use super::header::Header;
use super::quantiser::{Positions, Quantiser};
use crate::codec::rounding::{to_f32, to_f64};

/// Codes the chunks of one update.
#[derive(Debug)]
pub struct Encoder {
    quantiser: Quantiser,
    header: Header,
    classes: Classes,
    codings: Vec<Coding>,
}

/// Buffers of an encoder.
#[derive(Debug, Default)]
pub struct Buffers {
    positions: Positions,
    classes: Vec<u8>,
    words: Words,
}

impl Encoder {
    /// Makes the encoder that quantises with one step and whose positions are decoded with another one, `decoded`.
    pub fn new(step: f64, decoded: f64, classes: Classes) -> Self {
        Self {
            quantiser: Quantiser::new(step),
            header: Header {
                step: decoded,
                tables: classes.tables.clone(),
            },
            codings: classes.tables.iter().map(Coding::new).collect(),
            classes,
        }
    }

    /// Returns the update's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Codes a chunk, appends it to `out` and returns its positions. A chunk of zeros has no bytes.
    pub fn encode<'a>(&self, x: &[f64], buffers: &'a mut Buffers, out: &mut Vec<u8>) -> &'a [i32] {
        self.quantiser.quantise(x, &mut buffers.positions);
        let positions = buffers.positions.get();
        if positions.iter().fold(0, |all, position| all | position) != 0 {
            buffers.classes.clear();
            let classes = positions.chunks(BLOCK).map(|block| self.classes.of_block(block));
            buffers.classes.extend(classes);
            pack(&buffers.classes, class_bits(self.codings.len()), out);
            encode(positions, &buffers.classes, &self.codings, &mut buffers.words);
            buffers.words.write(out);
        }
        positions
    }

    /// Writes the values that a receiver decodes from positions: f32 or, for a tensor of f64, `double`.
    pub fn decode(&self, positions: &[i32], double: bool, out: &mut [f64]) {
        values(self.header.step, positions, double, out);
    }
}

/// Computes the values that a receiver decodes from positions: f32 or, if `double`, f64.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn values(step: f64, positions: &[i32], double: bool, out: &mut [f64]) {
    for (position, out) in positions.iter().zip(out) {
        let value = f64::from(*position) * step;
        *out = if double {
            to_f64(value)
        } else {
            f64::from(to_f32(value))
        };
    }
}

/// Appends the classes with this many bits each, the first one lowest.
fn pack(classes: &[u8], bits: u32, out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + (classes.len() * bits as usize).div_ceil(8), 0);
    for (i, class) in classes.iter().enumerate() {
        for bit in 0..bits as usize {
            let place = i * bits as usize + bit;
            out[at + place / 8] |= (class >> bit & 1) << (place % 8);
        }
    }
}
