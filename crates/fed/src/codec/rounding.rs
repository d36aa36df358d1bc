//! Numbers of every float dtype as f64 and back, rounded once and never to infinity. No operation is a fused multiply-add.

/// Converts f64 to f32, ties to even. A value beyond the largest finite f32 becomes that one.
#[inline(always)]
pub(crate) fn to_f32(x: f64) -> f32 {
    // For a NaN, Rust's max and min return the other operand, so the result is finite for every input.
    x.max(f64::from(f32::MIN)).min(f64::from(f32::MAX)) as f32
}

/// Converts f64 to f32, rounded to odd: the result is exact, or the neighbour towards zero with its last bit set. A second
/// rounding to a format that is at least two bits narrower then gives the correctly rounded value (Boldo and Melquiond
/// 2008, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd").
#[inline(always)]
fn to_f32_odd(x: f64) -> u32 {
    let nearest = to_f32(x);
    let back = f64::from(nearest);
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > x.abs());
    towards_zero | u32::from(back != x)
}

/// Converts f64 to bfloat16, ties to even. A value beyond the largest finite bfloat16 becomes that one.
#[inline(always)]
pub(crate) fn to_bf16(x: f64) -> u16 {
    let bits = to_f32_odd(x);
    let rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    // Only a rounding up to infinity has this magnitude, because to_f32_odd is finite.
    let overflow = u32::from(rounded & 0x7fff == 0x7f80);
    (rounded - overflow) as u16
}

/// Converts bfloat16 to f64, exactly.
#[inline(always)]
pub(crate) fn from_bf16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// Converts f64 to IEEE half precision, ties to even. A value beyond the largest finite half becomes that one.
///
/// `half::f16::from_f64` is not used: with the F16C instructions it rounds twice, so its result differs from machine to
/// machine.
#[inline(always)]
pub(crate) fn to_f16(x: f64) -> u16 {
    let largest = half::f16::MAX.to_f64();
    let clamped = x.max(-largest).min(largest);
    half::f16::from_f32(f32::from_bits(to_f32_odd(clamped))).to_bits()
}

/// Converts IEEE half precision to f64, exactly.
#[inline(always)]
pub(crate) fn from_f16(bits: u16) -> f64 {
    f64::from(half::f16::from_bits(bits).to_f32())
}

/// Returns a finite f64 unchanged; an infinity becomes the largest finite f64 of its sign.
// `clamp` is not used because it would let a NaN through.
#[allow(clippy::manual_clamp)]
#[inline(always)]
pub(crate) fn to_f64(x: f64) -> f64 {
    x.max(f64::MIN).min(f64::MAX)
}
