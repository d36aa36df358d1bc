//! The weights of a weighted median.

use crate::aggregation::row::Row;
use crate::codec::Element;

/// The weights are whole numbers that add up to about this many, so that every sum of them is exact in f32.
const TOTAL: f64 = (1u32 << 22) as f64;
/// Coordinates that are worked on at once.
const LANES: usize = 16;

/// Returns the weight of a vector with this share: at least 1, unless the share is 0.
pub(super) fn weight_of(share: f64) -> f32 {
    match share {
        0.0 => 0.0,
        share => (share * TOTAL).round_ties_even().max(1.0) as f32,
    }
}

/// Finds the number at which half of the weight is reached; if it is reached exactly, this number and the next one. `sorted`
/// are the numbers in their order, and `weights` their weights.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(super) fn middle<E: Element>(sorted: &[Row<E>], weights: &[Row<f32>], low: &mut Row<E>, high: &mut Row<E>) {
    let lows = low.as_chunks_mut::<LANES>().0.iter_mut();
    for (group, (low, high)) in lows.zip(high.as_chunks_mut::<LANES>().0).enumerate() {
        let (mut total, mut reached) = ([0.0f32; LANES], [0.0f32; LANES]);
        for weights in weights {
            let weights = &weights.as_chunks::<LANES>().0[group];
            for l in 0..LANES {
                total[l] += weights[l];
            }
        }
        let (mut a, mut b, mut found_a, mut found_b) =
            ([E::ZERO; LANES], [E::ZERO; LANES], [0u32; LANES], [0u32; LANES]);
        for (numbers, weights) in sorted.iter().zip(weights) {
            let (numbers, weights) = (
                &numbers.as_chunks::<LANES>().0[group],
                &weights.as_chunks::<LANES>().0[group],
            );
            for l in 0..LANES {
                reached[l] += weights[l];
                let twice = 2.0 * reached[l];
                // Up to the first number at which it is reached.
                a[l] = if found_a[l] == 0 { numbers[l] } else { a[l] };
                b[l] = if found_b[l] == 0 { numbers[l] } else { b[l] };
                found_a[l] |= u32::from(twice >= total[l]);
                found_b[l] |= u32::from(twice > total[l]);
            }
        }
        (*low, *high) = (a, b);
    }
}
