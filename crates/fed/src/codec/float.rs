//! Floats as bytes: conversion of every dtype to f64 and back, rounded once and never to infinity.
//!
//! The loops are plain and branch-free over slices of equal length, so that the compiler vectorises them. No operation is a
//! fused multiply-add: each result is that of IEEE 754, hence the same on every machine.

pub(crate) use super::rounding::{from_bf16, from_f16, to_bf16, to_f16, to_f32, to_f64};

use super::element::Element;
use crate::record::Dtype;

/// Runs `$body` for a float dtype: `$width` is the bytes of an element, `$get` converts `[u8; width]` to f64 and `$put`
/// converts f64 to `[u8; width]`.
macro_rules! with_float {
    ($dtype:expr, |$width:ident, $get:ident, $put:ident| $body:expr) => {
        match $dtype {
            $crate::record::Dtype::F64 => {
                const $width: usize = 8;
                let ($get, $put) = (f64::from_le_bytes, |x: f64| {
                    $crate::codec::float::to_f64(x).to_le_bytes()
                });
                $body
            }
            $crate::record::Dtype::F32 => {
                const $width: usize = 4;
                let ($get, $put) = (
                    |b: [u8; 4]| f64::from(f32::from_le_bytes(b)),
                    |x: f64| $crate::codec::float::to_f32(x).to_le_bytes(),
                );
                $body
            }
            $crate::record::Dtype::F16 => {
                const $width: usize = 2;
                let ($get, $put) = (
                    |b: [u8; 2]| $crate::codec::float::from_f16(u16::from_le_bytes(b)),
                    |x: f64| $crate::codec::float::to_f16(x).to_le_bytes(),
                );
                $body
            }
            $crate::record::Dtype::Bf16 => {
                const $width: usize = 2;
                let ($get, $put) = (
                    |b: [u8; 2]| $crate::codec::float::from_bf16(u16::from_le_bytes(b)),
                    |x: f64| $crate::codec::float::to_bf16(x).to_le_bytes(),
                );
                $body
            }
            other => unreachable!("{} is no float", other.name()),
        }
    };
}

/// Adds `weight * x` to `sum`, coordinate by coordinate.
pub(crate) fn accumulate(dtype: Dtype, sum: &mut [f64], x: &[u8], weight: f64) {
    accumulate_all(dtype, sum, &[(x, weight)]);
}

/// Adds `weight * x` to `sum`, coordinate by coordinate, for one `(x, weight)` pair after the other.
pub(crate) fn accumulate_all(dtype: Dtype, sum: &mut [f64], parts: &[(&[u8], f64)]) {
    with_float!(dtype, |W, get, _put| {
        let part = |i: usize| (parts[i].0.as_chunks::<W>().0, parts[i].1);
        accumulate_elements(sum, parts.len(), part, get);
    });
}

/// Adds `weight * get(x)` to `sum`, coordinate by coordinate, for `part(0)`, `part(1)` and so on, one after the other. Four
/// parts are taken at a time, so that a sum is loaded and stored a quarter as often. The order of the additions, and so the
/// bits of the result, stay the same.
#[inline(always)]
pub(crate) fn accumulate_elements<'a, E: Copy + 'a>(
    sum: &mut [f64],
    parts: usize,
    part: impl Fn(usize) -> (&'a [E], f64),
    get: impl Fn(E) -> f64 + Copy,
) {
    // The runs are long and the updates of one pass few. More updates at a time, or runs short enough for the first-level
    // cache, measured slower, because the processor's prefetch begins anew with each run.
    let (fours, n) = (parts / 4 * 4, sum.len());
    let elements = |i: usize| {
        let (x, weight) = part(i);
        (&x[..n], weight)
    };
    for i in (0..fours).step_by(4) {
        add_four(sum, elements(i), elements(i + 1), elements(i + 2), elements(i + 3), get);
    }
    for i in fours..parts {
        add_one(sum, elements(i), get);
    }
}

/// Adds four parts to `sum`, in order. This function and [`add_one`] are not inlined: as function arguments the slices are
/// known not to overlap, and without that knowledge the compiler does not vectorise the loops.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_four<E: Copy>(
    sum: &mut [f64],
    (a, p): (&[E], f64),
    (b, q): (&[E], f64),
    (c, r): (&[E], f64),
    (d, s): (&[E], f64),
    get: impl Fn(E) -> f64,
) {
    // The slices are cut to one length, so that the loop has no bounds to check.
    let n = sum.len();
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    for i in 0..n {
        let mut x = sum[i];
        x += p * get(a[i]);
        x += q * get(b[i]);
        x += r * get(c[i]);
        x += s * get(d[i]);
        sum[i] = x;
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_one<E: Copy>(sum: &mut [f64], (x, weight): (&[E], f64), get: impl Fn(E) -> f64) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += weight * get(*x);
    }
}

/// Adds `weight * (x - base)` to `sum`, coordinate by coordinate. The difference is limited to finite values.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn accumulate_difference(dtype: Dtype, sum: &mut [f64], x: &[u8], base: &[u8], weight: f64) {
    with_float!(dtype, |W, get, _put| {
        let pairs = x.as_chunks::<W>().0.iter().zip(base.as_chunks::<W>().0);
        for (sum, (x, base)) in sum.iter_mut().zip(pairs) {
            let difference = get(*x) - get(*base);
            // Only the difference of f64 numbers can overflow: that of two narrower floats is far inside f64's range.
            *sum += weight
                * if W == 8 {
                    difference.clamp(f64::MIN, f64::MAX)
                } else {
                    difference
                };
        }
    });
}

/// Writes `base + sum` to `out`, added in f64 and rounded once.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn add_rounded(dtype: Dtype, base: &[u8], sum: &[f64], out: &mut [u8]) {
    with_float!(dtype, |W, get, put| {
        let pairs = base.as_chunks::<W>().0.iter().zip(sum);
        for (out, (base, sum)) in out.as_chunks_mut::<W>().0.iter_mut().zip(pairs) {
            *out = put(get(*base) + sum);
        }
    });
}

/// Reads the numbers of `bytes`, each rounded to the type of `out`.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn decode_elements<E: Element>(dtype: Dtype, bytes: &[u8], out: &mut [E]) {
    match dtype {
        // Without the way through f64, which has twice as many instructions.
        Dtype::F32 => {
            for (out, x) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = E::from_f32(f32::from_le_bytes(*x));
            }
        }
        Dtype::Bf16 => {
            for (out, x) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = E::from_f32(f32::from_bits(u32::from(u16::from_le_bytes(*x)) << 16));
            }
        }
        _ => with_float!(dtype, |W, get, _put| {
            for (out, x) in out.iter_mut().zip(bytes.as_chunks::<W>().0) {
                *out = E::from_f64(get(*x));
            }
        }),
    }
}

/// Returns whether a number's magnitude is above `most`. The loop has no early exit and computes no maximum: each of these
/// would keep the compiler from working on several elements at once.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn any_beyond(x: &[f64], most: f64) -> bool {
    x.iter().fold(false, |beyond, x| beyond | (x.abs() > most))
}

/// Writes `x` to `out`, rounded once to `dtype`.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn round(dtype: Dtype, x: &[f64], out: &mut [u8]) {
    with_float!(dtype, |W, _get, put| {
        for (out, x) in out.as_chunks_mut::<W>().0.iter_mut().zip(x) {
            *out = put(*x);
        }
    });
}

/// Returns the index of the first element that is a NaN, an infinity, or a boolean other than 0 and 1.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn first_bad(dtype: Dtype, bytes: &[u8]) -> Option<usize> {
    // A block nearly always has no bad element. The first pass has no branches and decides only whether there is one, the
    // second finds it.
    fn find<const W: usize>(bytes: &[u8], bad: impl Fn([u8; W]) -> bool) -> Option<usize> {
        let elements = bytes.as_chunks::<W>().0;
        let any = elements.iter().fold(false, |any, e| any | bad(*e));
        if any {
            elements.iter().position(|e| bad(*e))
        } else {
            None
        }
    }
    match dtype {
        Dtype::F64 => find(bytes, |b| u64::from_le_bytes(b) & (0x7ff << 52) == 0x7ff << 52),
        Dtype::F32 => find(bytes, |b| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000),
        Dtype::F16 => find(bytes, |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
        Dtype::Bf16 => find(bytes, |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
        Dtype::Bool => find(bytes, |[b]| b > 1),
        _ => None,
    }
}

/// Describes the problem of an element that [`first_bad`] found, and the remedy.
pub(crate) fn describe_bad(dtype: Dtype, element: &[u8]) -> String {
    if dtype == Dtype::Bool {
        return format!("{}: a BOOL is 0 or 1", element[0]);
    }
    let mut value = [0.0];
    accumulate(dtype, &mut value, element, 1.0);
    let kind = if value[0].is_nan() { "NaN" } else { "infinite" };
    format!("{kind}: only finite numbers can be averaged: check the training (learning rate, empty batches)")
}
