//! The distance of an update to the result, for its verdict.

use crate::aggregation::{RUN, Row};
use crate::codec::Element;

/// Lanes in which a squared distance is summed; the order is fixed.
const LANES: usize = 32;
/// Sums of squares from here up to the largest f32 are right to a few units in f32's last place.
const LEAST: f64 = 1e-27;

/// Returns the squared distance of a run of an update to the result, which is also given rounded. Behind the result's length
/// both rows have zeros. Differences are squared in the update's own type, because a verdict holds an f32; in f64 only if f32
/// is too narrow for their squares.
pub(super) fn distance2<E: Element>(row: &Row<E>, result: &[f64], rounded: &Row<E>) -> f64 {
    let sum = squares(row, rounded).iter().fold(0.0, |sum, lane| sum + lane.to_f64());
    if sum > LEAST && sum < f64::INFINITY {
        return sum;
    }
    row.iter().zip(result).fold(0.0, |sum, (x, z)| {
        let difference = x.to_f64() - z;
        sum + difference * difference
    })
}

/// Rounds a result.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(super) fn round<E: Element>(result: &[f64], rounded: &mut Row<E>) {
    for (rounded, x) in rounded.iter_mut().zip(result) {
        *rounded = E::from_f64(*x);
    }
}

/// Returns the sums of the squared differences in lanes.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn squares<E: Element>(row: &Row<E>, point: &Row<E>) -> [E; LANES] {
    let mut sums = [E::ZERO; LANES];
    let (row, point) = (row.as_chunks::<LANES>().0, point.as_chunks::<LANES>().0);
    for i in 0..RUN / LANES {
        for l in 0..LANES {
            let difference = row[i][l] - point[i][l];
            sums[l] = sums[l] + difference * difference;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_every_size_are_those_of_f64() {
        for size in [1e-40, 1e-30, 1e-14, 1e-3, 1.0, 1e17, 1e25, 3e38] {
            let (mut row, mut rounded) = ([0.0f32; _], [0.0f32; _]);
            let result: Vec<f64> = (0..77).map(|i| f64::from(i % 5) / 50.0 * size).collect();
            for (i, z) in result.iter().enumerate() {
                (row[i], rounded[i]) = (((i % 7) as f32 - 3.0) / 3.0 * size as f32, *z as f32);
            }
            let exact: f64 = row.iter().zip(&result).map(|(x, z)| (f64::from(*x) - z).powi(2)).sum();
            let got = distance2(&row, &result, &rounded);
            assert!((got / exact - 1.0).abs() < 1e-6, "{size}: {got} is not {exact}");
        }
        assert_eq!(distance2(&[0.5f32; _], &[0.5; 40], &[0.5; _]), 0.0);
    }
}
