//! Windows: the numbers that a mean by shares keeps, from a place on that may be another one in every coordinate. For the cases
//! that [`super::parts`] leaves: equal numbers at an end, and windows around the median.

use super::halfway::halfway;
use crate::aggregation::row::{RUN, Row};
use crate::codec::Element;

/// Coordinates that are worked on at once; their sums stay in registers.
const LANES: usize = 16;

/// One number of each coordinate that is worked on.
type Lanes<E> = [E; LANES];

/// The vectors of a run and what is known of them.
pub(super) struct Run<'a, E> {
    /// The vectors' numbers.
    pub rows: &'a [Row<E>],
    /// The same numbers, sorted in each coordinate.
    pub sorted: &'a [Row<E>],
    /// The vectors' shares.
    pub shares: &'a [f64],
}

/// The numbers that a mean keeps: `keep` sorted ones from `start` on.
struct Window {
    start: Lanes<u32>,
    keep: usize,
}

/// What a mean takes of each coordinate: the numbers from `low` to `high`, and their mean.
pub(super) struct Middle<'a, E> {
    pub low: &'a mut Row<E>,
    pub high: &'a mut Row<E>,
    pub mean: &'a mut Row<f64>,
}

/// Takes the mean by shares of the numbers from place `start` on.
pub(super) fn mean_from<E: Element>(run: &Run<'_, E>, start: usize, keep: usize, middle: &mut Middle<'_, E>) {
    means(run, Some(start), keep, middle);
}

/// Takes the mean by shares of the `keep` numbers next to the median; of two with the same distance the lower one.
pub(super) fn mean_at_median<E: Element>(run: &Run<'_, E>, keep: usize, middle: &mut Middle<'_, E>) {
    means(run, None, keep, middle);
}

/// Takes the means of group after group. All that it calls is inlined, so that the processor's widest registers are chosen
/// once a run.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn means<E: Element>(run: &Run<'_, E>, start: Option<usize>, keep: usize, middle: &mut Middle<'_, E>) {
    for group in 0..RUN / LANES {
        let window = match start {
            Some(start) => Window {
                start: [start as u32; LANES],
                keep,
            },
            None => window_at_median(run.sorted, group, keep),
        };
        let (low, high, mut mean) = plain_mean(run.sorted, group, &window);
        by_shares(run, group, &window, (&low, &high), &mut mean);
        *lanes_mut(middle.low, group) = low;
        *lanes_mut(middle.high, group) = high;
        *lanes_mut(middle.mean, group) = mean;
    }
}

#[inline(always)]
fn lanes<E>(row: &Row<E>, group: usize) -> &Lanes<E> {
    &row.as_chunks().0[group]
}

#[inline(always)]
fn lanes_mut<E>(row: &mut Row<E>, group: usize) -> &mut Lanes<E> {
    &mut row.as_chunks_mut().0[group]
}

#[inline(always)]
fn window_at_median<E: Element>(sorted: &[Row<E>], group: usize, keep: usize) -> Window {
    let (mut start, mut least, mut centre) = ([0u32; LANES], [f64::INFINITY; LANES], [0.0; LANES]);
    let middle = [&sorted[(sorted.len() - 1) / 2], &sorted[sorted.len() / 2]].map(|row| lanes(row, group));
    for l in 0..LANES {
        centre[l] = halfway(middle[0][l], middle[1][l]);
    }
    for (first, numbers) in sorted[..=sorted.len() - keep].iter().enumerate() {
        let (numbers, last) = (lanes(numbers, group), lanes(&sorted[first + keep - 1], group));
        for l in 0..LANES {
            let (below, above) = (centre[l] - numbers[l].to_f64(), last[l].to_f64() - centre[l]);
            let farthest = if below > above { below } else { above };
            let better = farthest < least[l];
            least[l] = if better { farthest } else { least[l] };
            start[l] = if better { first as u32 } else { start[l] };
        }
    }
    Window { start, keep }
}

/// Returns the ends of the window and the mean of its numbers.
#[inline(always)]
fn plain_mean<E: Element>(sorted: &[Row<E>], group: usize, window: &Window) -> (Lanes<E>, Lanes<E>, Lanes<f64>) {
    let (mut low, mut high, mut sum) = ([E::ZERO; LANES], [E::ZERO; LANES], [0.0f64; LANES]);
    let each = 1.0 / window.keep as f64;
    for (i, numbers) in sorted.iter().enumerate() {
        let numbers = lanes(numbers, group);
        for l in 0..LANES {
            let place = (i as u32).wrapping_sub(window.start[l]);
            low[l] = if place == 0 { numbers[l] } else { low[l] };
            high[l] = if place == window.keep as u32 - 1 {
                numbers[l]
            } else {
                high[l]
            };
            // Each number is divided, because a sum of f64 can be beyond the largest one.
            let part = if place < window.keep as u32 {
                numbers[l].to_f64() * each
            } else {
                0.0
            };
            sum[l] += part;
        }
    }
    (low, high, sum)
}

/// Replaces the mean of the window by the mean by shares. Of equal numbers at an end of the window some may be in the window
/// and some not; each of them then counts in part, so that the result does not depend on the vectors' order.
#[inline(always)]
fn by_shares<E: Element>(
    run: &Run<'_, E>,
    group: usize,
    window: &Window,
    (low, high): (&Lanes<E>, &Lanes<E>),
    mean: &mut Lanes<f64>,
) {
    // How many numbers are equal to the ends, and how many of these are in the window.
    let (mut lows, mut lows_in, mut highs, mut highs_in) = ([0u32; LANES], [0u32; LANES], [0u32; LANES], [0u32; LANES]);
    for (i, numbers) in run.sorted.iter().enumerate() {
        let numbers = lanes(numbers, group);
        for l in 0..LANES {
            let inside = u32::from((i as u32).wrapping_sub(window.start[l]) < window.keep as u32);
            let (at_low, at_high) = (u32::from(numbers[l] == low[l]), u32::from(numbers[l] == high[l]));
            lows[l] += at_low;
            lows_in[l] += at_low & inside;
            highs[l] += at_high;
            highs_in[l] += at_high & inside;
        }
    }
    let part = |inside: u32, all: u32| f64::from(inside) / f64::from(all.max(1));
    let (mut of_low, mut of_high) = ([0.0f64; LANES], [0.0f64; LANES]);
    for l in 0..LANES {
        of_low[l] = part(lows_in[l], lows[l]);
        of_high[l] = part(highs_in[l], highs[l]);
    }
    let (mut sum, mut weight) = ([0.0f64; LANES], [0.0f64; LANES]);
    for pass in 0..2 {
        for (row, share) in run.rows.iter().zip(run.shares) {
            let numbers = lanes(row, group);
            for l in 0..LANES {
                let x = numbers[l];
                let inside = if x > low[l] && x < high[l] { 1.0 } else { 0.0 };
                let inside = if x == low[l] { of_low[l] } else { inside };
                let inside = if x == high[l] { of_high[l] } else { inside };
                if pass == 0 {
                    weight[l] += share * inside;
                } else {
                    // Divided before it is added: a sum of f64 can be beyond the largest one.
                    let part = share * inside / weight[l] * x.to_f64();
                    sum[l] += if inside > 0.0 { part } else { 0.0 };
                }
            }
        }
    }
    for l in 0..LANES {
        // Perhaps no contribution in the window has a share; then the numbers count the same.
        mean[l] = if low[l] == high[l] {
            low[l].to_f64()
        } else if weight[l] > 0.0 {
            sum[l]
        } else {
            mean[l]
        };
    }
}
