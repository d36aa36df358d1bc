//! `tcq/1`: trellis-coded quantisation with one step for the whole update, and entropy coding by context.
//!
//! The rate-distortion bound of a Gaussian at a fidelity F is `0.5 log2(1 / (1 - F))` bits an element: 3.322 at 0.99. Rounding to
//! multiples of a step and entropy coding is 0.255 bits above it at high rates. This codec is about 0.08 bits above it:
//!
//! 1. **Quantisation** (Marcellin and Fischer 1990; trellis: Ungerboeck 1982, 8 states). Element i of a chunk belongs to lane
//!    i mod 8; each lane is a path through the trellis from state 0. A state allows the even or the odd multiples of the step:
//!    position p = 2 k + o with o = the state's lowest bit. The state s = a + 2 b + 4 c is followed by
//!    `a' = a ^ b, b' = c ^ (k & 1), c' = a`. The encoder searches the path with the least squared error (Viterbi).
//! 2. **Value**: `p × step` in f64, rounded once to f32, or not at all in a tensor of f64.
//! 3. **Entropy coding** (Joshi, Crump and Fischer 1995 for a trellis; rANS: Duda 2013). k is coded with a table that depends on
//!    o and on the class of the block of 256 elements. Blocks of like size are in one class.
//!
//! One step is right for all tensors: for a given sum of squared errors the bits are fewest if every element has the same error
//! ("reverse water-filling"). The encoder finds the step by itself ([`search`](mod@search)); a decoder needs none of that.
//!
//! # Bytes
//!
//! All numbers are little-endian. An update is the header, the chunks, and the index. A chunk holds the pieces of tensors that
//! make a batch: at most 2^14 elements, taken in the schema's order; a tensor is cut at multiples of 2^14, and a piece that does
//! not fit into what is left of a batch begins the next one.
//!
//! | part | field | bytes |
//! | --- | --- | --- |
//! | header | number of tables T, 0 to 8 | 1 |
//! | | step (f64, positive; 0 if T is 0) | 8 |
//! | table, T times | shift s, 0 to 12 | 1 |
//! | | low (i16) | 2 |
//! | | number of symbols n, at least 1 | 1 |
//! | | 2 n frequencies, first those for o = 0: one byte below 128, else the low seven bits + 128 and the rest | 2 n to 4 n |
//! | chunk | integers and booleans, as they are | their width |
//! | | classes: ⌈log2 T⌉ bits a block, the first one lowest | ⌈bits / 8⌉ |
//! | | four states (u32) | 16 |
//! | | words of 16 bits | |
//! | index, for each chunk | length of the floats' part (classes, states, words) | 2 |
//!
//! The length 65535 in the index says that the floats are not coded: f32 (f64 in a tensor of f64), in order. The length 0 says
//! that all are zero. Any other length is less than that of the floats if they were not coded, so no update is longer than
//! [`Codec::coded_bytes`](super::Codec::coded_bytes) says.
//!
//! A table has n + 1 symbols for each o. Their frequencies add up to 4096 and none is 0; the last symbol, the escape, has what is
//! left. Symbol j < n is the index k with `k >> s = low + j`; its low s bits follow, as a symbol of frequency `2^(12 - s)`. After
//! the escape k follows in words: one (i16), or 0x8000, the low half and the high half of an i32.
//!
//! Element i uses state x = i mod 4. With `z = x mod 4096`, the symbol is the one whose interval [start, start + f) has z; then
//! `x = f × ⌊x / 4096⌋ + z - start`, and if x is below 2^16, `x = 2^16 x + the next word`. After the last element all words are
//! used and all four states are 2^16; anything else is refused.

mod ans;
mod classes;
mod decoder;
mod encoder;
mod header;
mod histogram;
mod quantiser;
mod search;
mod table;
mod trellis;

pub(crate) use decoder::{Decoded, Decoder};
pub(crate) use encoder::{Buffers, Encoder};
pub(crate) use header::{HEADER_MAX, HEADER_MIN, Header};
pub(crate) use search::{Goal, Sample};

/// Largest number of elements in a chunk. The states of the entropy coder then cost 0.006 bits an element.
pub(crate) const CHUNK: usize = 1 << 14;

#[cfg(test)]
mod tests;
