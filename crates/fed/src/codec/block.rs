//! The codecs' kernels: runs of floats, from a multiple of [`INT8_BLOCK`] on, to coded bytes and back.

use super::{Codec, float};
use crate::record::Dtype;

/// Elements with one scale. 256: 1.6 % more bytes than none and F = 0.99995 on a Gaussian; 4096 would save those bytes,
/// but on heavy-tailed updates (t with 3 degrees of freedom) it reaches 0.9979 only, below the 0.99 that state needs by
/// little.
pub(crate) const INT8_BLOCK: usize = 256;
/// The largest code: -128 is never used, so that the grid is symmetric.
const CODE_MAX: f64 = 127.0;
/// Adding it to a number below 2^51 in magnitude rounds that to an integer, ties to even, and leaves the integer in the
/// low bits: 1.5 × 2^52. `f64::round_ties_even` would be a library call on a processor without SSE4.1.
const TO_INTEGER: f64 = 6_755_399_441_055_744.0;

/// Codes `x` into `out` (as long as [`Codec::run_bytes`] says).
pub(crate) fn encode(codec: Codec, dtype: Dtype, x: &[f64], out: &mut [u8]) {
    match codec {
        Codec::None => float::round(dtype, x, out),
        Codec::Bf16 => float::round(Dtype::Bf16, x, out),
        Codec::Int8 => {
            for (x, out) in x.chunks(INT8_BLOCK).zip(out.chunks_mut(INT8_BLOCK + 4)) {
                encode_int8(x, out);
            }
        }
    }
}

/// `sum += weight * decoded` for one `(coded, weight)` after the other, coordinate by coordinate. The decoded value is
/// exact, so the only roundings are those of the product and the sum.
pub(crate) fn accumulate_all(codec: Codec, dtype: Dtype, sum: &mut [f64], parts: &[(&[u8], f64)]) {
    match codec {
        Codec::None => float::accumulate_all(dtype, sum, parts),
        Codec::Bf16 => float::accumulate_all(Dtype::Bf16, sum, parts),
        Codec::Int8 => {
            for (i, sum) in sum.chunks_mut(INT8_BLOCK).enumerate() {
                let at = i * (INT8_BLOCK + 4);
                for (coded, weight) in parts {
                    accumulate_int8(sum, &coded[at..at + 4 + sum.len()], *weight);
                }
            }
        }
    }
}

/// `out = decoded`.
pub(crate) fn decode(codec: Codec, dtype: Dtype, coded: &[u8], out: &mut [f64]) {
    // -0.0 and not 0.0: x + -0.0 is x for every x, a negative zero included.
    out.fill(-0.0);
    accumulate_all(codec, dtype, out, &[(coded, 1.0)]);
}

/// What is wrong with coded floats, and at which element: `None` when every one is finite and canonical.
pub(crate) fn first_bad(codec: Codec, dtype: Dtype, coded: &[u8]) -> Option<(usize, String)> {
    let plain = match codec {
        Codec::None => dtype,
        Codec::Bf16 => Dtype::Bf16,
        Codec::Int8 => return first_bad_int8(coded),
    };
    let index = float::first_bad(plain, coded)?;
    let width = plain.bytes();
    Some((index, float::describe_bad(plain, &coded[index * width..][..width])))
}

fn encode_int8(x: &[f64], out: &mut [u8]) {
    let largest = largest_magnitude(x);
    let mut scale = float::to_f32(largest / CODE_MAX);
    // Rounded up, so that no code exceeds 127; matters for subnormal scales, which have few bits.
    if f64::from(scale) * CODE_MAX < largest && scale < f32::MAX {
        scale = scale.next_up();
    }
    let (head, codes) = out.split_at_mut(4);
    head.copy_from_slice(&scale.to_le_bytes());
    let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(x) {
        // The limit bites only where the scale itself is at f32's end (differences of f64 tensors).
        let steps = (x * inverse).clamp(-CODE_MAX, CODE_MAX);
        *code = (steps + TO_INTEGER).to_bits() as u8;
    }
}

/// In eight lanes, so that the processor can follow them in parallel; a maximum knows no order.
fn largest_magnitude(x: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (eights, rest) = x.as_chunks::<8>();
    for x in eights.iter().map(<[f64; 8]>::as_slice).chain([rest]) {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = if x.abs() > *lane { x.abs() } else { *lane };
        }
    }
    lanes.iter().fold(0.0, |a, b| a.max(*b))
}

fn accumulate_int8(sum: &mut [f64], coded: &[u8], weight: f64) {
    let Some((head, codes)) = coded.split_first_chunk::<4>() else {
        return;
    };
    let scale = f64::from(f32::from_le_bytes(*head));
    for (sum, code) in sum.iter_mut().zip(codes) {
        *sum += weight * (scale * f64::from(*code as i8));
    }
}

fn first_bad_int8(coded: &[u8]) -> Option<(usize, String)> {
    for (block, coded) in coded.chunks(INT8_BLOCK + 4).enumerate() {
        let element = block * INT8_BLOCK;
        let Some((head, codes)) = coded.split_first_chunk::<4>() else {
            return Some((element, "cut off: a block is a scale and its codes".into()));
        };
        let scale = f32::from_le_bytes(*head);
        if !scale.is_finite() || scale.is_sign_negative() {
            return Some((
                element,
                format!("in a block of scale {scale}: a scale is finite and not negative"),
            ));
        }
        if codes.iter().fold(false, |any, code| any | (*code == 0x80)) {
            let at = codes.iter().position(|code| *code == 0x80).unwrap_or(0);
            return Some((element + at, "coded as -128: codes are -127 to 127".into()));
        }
    }
    None
}
