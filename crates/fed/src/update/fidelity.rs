//! Fidelity: the share of an update that is left after coding.

use crate::record::Dtype;
use crate::tensor::TensorError;

/// Number of lanes in which sums run; lane i takes every eighth element. The order is fixed, and the processor can work on
/// the lanes in parallel.
const LANES: usize = 8;
/// Largest exponent at which tensors are not scaled: up to 2^±400 the sums of squares of a model's elements stay inside
/// f64's range. Larger or smaller f64 tensors are scaled.
const PLAIN_EXPONENT_MAX: i32 = 400;

/// Inner products of an update x and its reconstruction y; the true values are these times `2^(2 * exponent)`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    xy: f64,
    xx: f64,
    yy: f64,
    exponent: i32,
}

impl Moments {
    /// Computes the inner products of one run of a tensor of this dtype.
    pub fn of(dtype: Dtype, x: &[f64], y: &[f64]) -> Self {
        let exponent = if dtype == Dtype::F64 { exponent_of(x, y) } else { 0 };
        if exponent == 0 {
            return Self::products(x, y, 1.0, 0);
        }
        // 2^1023 is the largest power of two in f64. The smallest subnormal times it is 2^-51, whose square is far from an
        // underflow.
        let exponent = exponent.max(-1023);
        Self::products(x, y, 2f64.powi(-exponent), exponent)
    }

    fn products(x: &[f64], y: &[f64], scale: f64, exponent: i32) -> Self {
        let [xy, xx, yy] = products(x, y, scale).map(|lanes| lanes.iter().sum());
        Self { xy, xx, yy, exponent }
    }

    /// Adds the inner products of a further run.
    pub fn add(&mut self, other: Self) {
        if other.xx == 0.0 && other.yy == 0.0 {
            return;
        }
        if self.xx == 0.0 && self.yy == 0.0 {
            *self = other;
            return;
        }
        let exponent = self.exponent.max(other.exponent);
        let (a, b) = (
            2f64.powi(2 * (self.exponent - exponent)),
            2f64.powi(2 * (other.exponent - exponent)),
        );
        *self = Self {
            xy: self.xy * a + other.xy * b,
            xx: self.xx * a + other.xx * b,
            yy: self.yy * a + other.yy * b,
            exponent,
        };
    }

    /// Returns the root mean square of this many elements of x.
    pub fn rms(&self, elements: u64) -> f64 {
        (self.xx / elements.max(1) as f64).sqrt() * 2f64.powi(self.exponent)
    }

    /// Returns `|x - y|^2` as a share of the `|x|^2` of the whole update.
    pub fn error_in(&self, whole: &Self) -> f64 {
        let error = (self.xx - 2.0 * self.xy + self.yy).max(0.0);
        if error == 0.0 {
            return 0.0;
        }
        error / whole.xx * 2f64.powi(2 * (self.exponent - whole.exponent))
    }

    /// Returns true if x is zero.
    pub fn is_zero(&self) -> bool {
        self.xx == 0.0
    }

    /// Checks that all elements were numbers.
    pub fn check(&self) -> Result<(), TensorError> {
        if self.is_finite() {
            return Ok(());
        }
        Err(TensorError::bad(
            "update: not finite: a submission holds NaN or infinity, though it was checked: its file has changed",
        ))
    }

    fn is_finite(&self) -> bool {
        self.xy.is_finite() && self.xx.is_finite() && self.yy.is_finite()
    }

    /// Returns `1 - |x - y|^2 / |x|^2`, at least 0. For small errors this is the squared cosine; the cosine alone would not
    /// notice an update that was cut to its format's largest number. The result is 1 for a zero sent as zero, 0 if only one
    /// of the two is zero, and `None` if a sum is not finite.
    pub fn fidelity(&self) -> Option<f64> {
        let Self { xy, xx, yy, .. } = *self;
        if !self.is_finite() {
            return None;
        }
        if xx == 0.0 && yy == 0.0 {
            return Some(1.0);
        }
        if xx == 0.0 || yy == 0.0 {
            return Some(0.0);
        }
        // The quotients are computed first, because products could leave f64's range. If x and y are equal, the result is
        // exactly 1.
        let error = 1.0 - 2.0 * (xy / xx) + yy / xx;
        Some((1.0 - error).clamp(0.0, 1.0))
    }
}

/// Computes the lanes of `<x,y>`, `<x,x>` and `<y,y>`, with x and y times `scale`.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn products(x: &[f64], y: &[f64], scale: f64) -> [[f64; LANES]; 3] {
    let (mut xy, mut xx, mut yy) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    // The rest is filled up with zeros, which add nothing.
    let (x_rest, y_rest) = (filled_up(x_rest), filled_up(y_rest));
    let rest = std::iter::once((&x_rest, &y_rest));
    // The loop's body is no closure: a closure that borrows the sums is not always inlined, and then the sums go through
    // memory.
    for (x, y) in x.iter().zip(y).chain(rest) {
        for i in 0..LANES {
            let (x, y) = (x[i] * scale, y[i] * scale);
            xy[i] += x * y;
            xx[i] += x * x;
            yy[i] += y * y;
        }
    }
    [xy, xx, yy]
}

fn filled_up(rest: &[f64]) -> [f64; LANES] {
    let mut lanes = [0.0; LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    lanes
}

/// Returns the exponent by which to scale: 0 unless the square of the largest magnitude could leave f64's range.
///
/// y counts, too: with one step for all tensors a tiny x may become a step.
fn exponent_of(x: &[f64], y: &[f64]) -> i32 {
    let largest = x.iter().chain(y).fold(0.0f64, |largest, x| largest.max(x.abs()));
    let biased = (largest.to_bits() >> 52) as i32;
    if largest == 0.0 || (biased - 1023).abs() <= PLAIN_EXPONENT_MAX {
        return 0;
    }
    biased - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dtype: Dtype, x: &[f64], y: &[f64]) -> Option<f64> {
        Moments::of(dtype, x, y).fidelity()
    }

    #[test]
    fn known_angles_and_lengths() {
        assert_eq!(of(Dtype::F32, &[3.0, 4.0], &[3.0, 4.0]), Some(1.0));
        assert_eq!(of(Dtype::F32, &[6.0, 8.0], &[3.0, 4.0]), Some(0.75), "half as long");
        assert_eq!(of(Dtype::F32, &[3.0, 4.0], &[6.0, 8.0]), Some(0.0), "twice as long");
        assert_eq!(of(Dtype::F32, &[1.0, 0.0], &[0.0, 1.0]), Some(0.0));
        // At 45 degrees y is the foot of the perpendicular from x, and the fidelity is the squared cosine.
        assert_eq!(of(Dtype::F32, &[1.0, 0.0], &[0.5, 0.5]), Some(0.5));
        assert_eq!(of(Dtype::F32, &[], &[]), Some(1.0));
        assert_eq!(of(Dtype::F32, &[0.0; 3], &[0.0; 3]), Some(1.0));
        assert_eq!(of(Dtype::F32, &[1e-30; 3], &[0.0; 3]), Some(0.0));
        assert_eq!(of(Dtype::F32, &[f64::NAN], &[1.0]), None);
    }

    #[test]
    fn f64_tensors_keep_their_angle_at_both_ends_of_the_range() {
        for scale in [1.0, 1e-320, 1e-250, 1e200, 1e307] {
            let (x, y) = ([scale, 0.0], [scale / 2.0, scale / 2.0]);
            let got = of(Dtype::F64, &x, &y).unwrap();
            assert!((got - 0.5).abs() < 1e-3, "{got} at {scale}");
        }
        // A tiny x that becomes an ordinary y is as wrong as can be, and no infinity.
        assert_eq!(of(Dtype::F64, &[1e-310], &[0.1]), Some(0.0));
        // A huge tensor beside an ordinary one determines the result alone, in either order.
        let (huge, plain) = (
            Moments::of(Dtype::F64, &[1e300], &[1e300]),
            Moments::of(Dtype::F64, &[1.0], &[-1.0]),
        );
        for (mut a, b) in [(huge, plain), (plain, huge)] {
            a.add(b);
            assert_eq!(a.fidelity(), Some(1.0));
        }
    }
}
