//! The numbers that kernels of aggregation work on.

use std::ops::{Add, Mul, Sub};

/// f32 for most tensors, f64 for those of f64.
pub(crate) trait Element:
    Copy + PartialOrd + Default + Send + Sync + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + 'static
{
    /// Zero.
    const ZERO: Self;
    /// Converts exactly.
    fn to_f64(self) -> f64;
    /// Rounds, ties to even. A number beyond the largest finite one becomes that one.
    fn from_f64(x: f64) -> Self;
    /// Returns the number; zero instead of a negative zero.
    fn without_sign_of_zero(self) -> Self;
    /// Converts exactly. An infinity becomes the largest finite number of its sign.
    fn from_f32(x: f32) -> Self;
    /// Rounds a weight, which is never beyond the largest finite number.
    fn of_weight(weight: f64) -> Self;
    /// Returns the number; instead of an infinity the largest finite number of its sign.
    fn limited(self) -> Self;
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        super::rounding::to_f32(x)
    }
    #[inline(always)]
    fn without_sign_of_zero(self) -> Self {
        self + 0.0
    }
    // `clamp` is not used because it would let a NaN through.
    #[allow(clippy::manual_clamp)]
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x.max(f32::MIN).min(f32::MAX)
    }
    #[inline(always)]
    fn of_weight(weight: f64) -> Self {
        weight as f32
    }
    #[inline(always)]
    fn limited(self) -> Self {
        self.clamp(f32::MIN, f32::MAX)
    }
}

impl Element for f64 {
    const ZERO: Self = 0.0;
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        super::rounding::to_f64(x)
    }
    #[inline(always)]
    fn without_sign_of_zero(self) -> Self {
        self + 0.0
    }
    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        super::rounding::to_f64(f64::from(x))
    }
    #[inline(always)]
    fn of_weight(weight: f64) -> Self {
        weight
    }
    #[inline(always)]
    fn limited(self) -> Self {
        self.clamp(f64::MIN, f64::MAX)
    }
}
