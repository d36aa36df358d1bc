//! The codecs' kernels. They code runs of floats, which begin at a multiple of [`INT8_BLOCK`], into bytes and back. For
//! `tcq/1` these bytes are those of a chunk that is not coded, or that is decoded.

use super::element::Element;
use super::{Codec, INT8_BLOCK, float};
use crate::record::Dtype;

/// The largest code. -128 is never used, so that the codes are symmetric around 0.
const CODE_MAX: f64 = 127.0;
/// The number 1.5 × 2^52. Adding it to a number below 2^51 in magnitude rounds that number to an integer, ties to even, and
/// leaves the integer in the low bits. `f64::round_ties_even` would be a library call on a processor without SSE4.1.
const TO_INTEGER: f64 = 6_755_399_441_055_744.0;

/// Codes `x` into `out`, whose length is [`Codec::run_bytes`].
pub(crate) fn encode(codec: Codec, dtype: Dtype, x: &[f64], out: &mut [u8]) {
    match codec {
        Codec::None | Codec::Bf16 | Codec::F16 | Codec::Tcq => float::round(codec.plain(dtype), x, out),
        Codec::Int8 => {
            for (x, out) in x.chunks(INT8_BLOCK).zip(out.chunks_mut(INT8_BLOCK + 4)) {
                encode_int8(x, out);
            }
        }
    }
}

/// Adds `weight * decoded` to `sum`, coordinate by coordinate, for one `(coded, weight)` pair after the other. The decoded
/// value is exact, so only the product and the sum are rounded.
pub(crate) fn accumulate_all(codec: Codec, dtype: Dtype, sum: &mut [f64], parts: &[(&[u8], f64)]) {
    match codec {
        Codec::None | Codec::Bf16 | Codec::F16 | Codec::Tcq => float::accumulate_all(codec.plain(dtype), sum, parts),
        Codec::Int8 => accumulate_int8(sum, parts),
    }
}

/// Decodes `coded` into `out`.
pub(crate) fn decode(codec: Codec, dtype: Dtype, coded: &[u8], out: &mut [f64]) {
    // The start value is -0.0 and not 0.0, because x + -0.0 is x for every x, including a negative zero.
    out.fill(-0.0);
    accumulate_all(codec, dtype, out, &[(coded, 1.0)]);
}

/// Decodes `coded` into `out`, each value rounded to the type of `out`.
pub(crate) fn decode_elements<E: Element>(codec: Codec, dtype: Dtype, coded: &[u8], out: &mut [E]) {
    match codec {
        Codec::None | Codec::Bf16 | Codec::F16 | Codec::Tcq => float::decode_elements(codec.plain(dtype), coded, out),
        Codec::Int8 => {
            for (coded, out) in coded.chunks(INT8_BLOCK + 4).zip(out.chunks_mut(INT8_BLOCK)) {
                decode_int8(coded, out);
            }
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn decode_int8<E: Element>(coded: &[u8], out: &mut [E]) {
    let Some((head, codes)) = coded.split_first_chunk::<4>() else {
        return;
    };
    let scale = f64::from(f32::from_le_bytes(*head));
    for (out, code) in out.iter_mut().zip(codes) {
        *out = E::from_f64(scale * f64::from(*code as i8));
    }
}

/// Returns the index of the first bad element of coded floats and a description of its problem, or `None` if every float is
/// finite and canonical.
pub(crate) fn first_bad(codec: Codec, dtype: Dtype, coded: &[u8]) -> Option<(usize, String)> {
    if codec == Codec::Int8 {
        return first_bad_int8(coded);
    }
    let plain = codec.plain(dtype);
    let index = float::first_bad(plain, coded)?;
    let width = plain.bytes();
    Some((index, float::describe_bad(plain, &coded[index * width..][..width])))
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn encode_int8(x: &[f64], out: &mut [u8]) {
    let largest = largest_magnitude(x);
    let mut scale = float::to_f32(largest / CODE_MAX);
    // The scale is rounded up, so that no code exceeds 127. This matters for subnormal scales, which have few bits.
    if f64::from(scale) * CODE_MAX < largest && scale < f32::MAX {
        scale = scale.next_up();
    }
    let (head, codes) = out.split_at_mut(4);
    head.copy_from_slice(&scale.to_le_bytes());
    let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
    for (code, x) in codes.iter_mut().zip(x) {
        // The limit takes effect only if the scale itself is the largest f32 (possible for differences of f64 tensors).
        let steps = (x * inverse).clamp(-CODE_MAX, CODE_MAX);
        *code = (steps + TO_INTEGER).to_bits() as u8;
    }
}

/// Returns the largest magnitude in `x`. Eight lanes let the processor work in parallel; the result of a maximum does not
/// depend on the order.
#[inline(always)]
fn largest_magnitude(x: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (eights, rest) = x.as_chunks::<8>();
    for x in eights {
        for l in 0..8 {
            lanes[l] = if x[l].abs() > lanes[l] { x[l].abs() } else { lanes[l] };
        }
    }
    let larger = |a: f64, b: &f64| if b.abs() > a { b.abs() } else { a };
    rest.iter().fold(lanes.iter().fold(0.0, larger), larger)
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn accumulate_int8(sum: &mut [f64], parts: &[(&[u8], f64)]) {
    for (i, sum) in sum.chunks_mut(INT8_BLOCK).enumerate() {
        let at = i * (INT8_BLOCK + 4);
        for (coded, weight) in parts {
            let Some((head, codes)) = coded[at..at + 4 + sum.len()].split_first_chunk::<4>() else {
                continue;
            };
            let scale = f64::from(f32::from_le_bytes(*head));
            for (sum, code) in sum.iter_mut().zip(codes) {
                *sum += weight * (scale * f64::from(*code as i8));
            }
        }
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
