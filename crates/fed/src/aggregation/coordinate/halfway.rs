//! The middle between two numbers.

use crate::codec::Element;

/// Returns the middle between two numbers. Halves are added, because the sum of two f64 can be beyond the largest one.
#[inline(always)]
pub(super) fn halfway<E: Element>(low: E, high: E) -> f64 {
    0.5 * low.to_f64() + 0.5 * high.to_f64()
}
