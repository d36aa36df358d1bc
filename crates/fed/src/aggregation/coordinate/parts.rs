//! Means as sums of parts, row after row. Each loop writes all that it may change, whether it changes or not: else the
//! compiler would write under masks, which is far slower.

use super::halfway::halfway;
use crate::aggregation::row::{RUN, Row};
use crate::codec::Element;

/// Writes the mean of the rows. Each number is divided, because a sum of f64 can be beyond the largest one.
pub(super) fn mean<E: Element>(rows: &[Row<E>], out: &mut Row<f64>) {
    let each = 1.0 / rows.len() as f64;
    out.fill(0.0);
    let (fours, rest) = rows.as_chunks::<4>();
    for [a, b, c, d] in fours {
        add_four(each, a, b, c, d, out);
    }
    for row in rest {
        add_one(each, row, out);
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_four<E: Element>(each: f64, a: &Row<E>, b: &Row<E>, c: &Row<E>, d: &Row<E>, out: &mut Row<f64>) {
    for l in 0..RUN {
        let mut sum = out[l];
        sum += a[l].to_f64() * each;
        sum += b[l].to_f64() * each;
        sum += c[l].to_f64() * each;
        sum += d[l].to_f64() * each;
        out[l] = sum;
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_one<E: Element>(each: f64, row: &Row<E>, out: &mut Row<f64>) {
    for l in 0..RUN {
        out[l] += row[l].to_f64() * each;
    }
}

/// Replaces the mean of the numbers from `low` to `high` by their mean by shares. All numbers that are equal to an end must
/// be meant. Where no contribution there has a share, or where the ends are equal, the mean stays.
pub(super) fn mean_by_shares<E: Element>(
    rows: &[Row<E>],
    shares: &[f64],
    (low, high): (&Row<E>, &Row<E>),
    mean: &mut Row<f64>,
) {
    let (mut weight, mut sum) = ([0.0; _], [0.0; _]);
    for (row, share) in rows.iter().zip(shares) {
        add_weight(*share, row, low, high, &mut weight);
    }
    for (row, share) in rows.iter().zip(shares) {
        add_share(*share, row, low, high, &weight, &mut sum);
    }
    for l in 0..RUN {
        mean[l] = if low[l] == high[l] {
            low[l].to_f64()
        } else if weight[l] > 0.0 {
            sum[l]
        } else {
            mean[l]
        };
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_weight<E: Element>(share: f64, row: &Row<E>, low: &Row<E>, high: &Row<E>, weight: &mut Row<f64>) {
    for l in 0..RUN {
        let inside = (row[l] >= low[l]) & (row[l] <= high[l]);
        weight[l] += if inside { share } else { 0.0 };
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_share<E: Element>(share: f64, row: &Row<E>, low: &Row<E>, high: &Row<E>, weight: &Row<f64>, sum: &mut Row<f64>) {
    for l in 0..RUN {
        let inside = (row[l] >= low[l]) & (row[l] <= high[l]);
        // Divided before it is added: a sum of f64 can be beyond the largest one.
        let part = share / weight[l] * row[l].to_f64();
        sum[l] += if inside { part } else { 0.0 };
    }
}

/// Returns whether a number beyond an end is equal to it, where the ends differ.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(super) fn any_tie<E: Element>(below: &Row<E>, low: &Row<E>, high: &Row<E>, above: &Row<E>) -> bool {
    let mut any = false;
    for l in 0..RUN {
        any |= ((below[l] == low[l]) | (above[l] == high[l])) & (low[l] != high[l]);
    }
    any
}

/// Writes the mean of the `keep` sorted numbers next to the median, and the ends; of two with the same distance the lower one.
pub(super) fn mean_at_median<E: Element>(
    sorted: &[Row<E>],
    keep: usize,
    (low, high): (&mut Row<E>, &mut Row<E>),
    mean: &mut Row<f64>,
) {
    let (mut now, mut next) = (Best::default(), Best::default());
    let centre = [&sorted[(sorted.len() - 1) / 2], &sorted[sorted.len() / 2]];
    for (first, (bottom, top)) in sorted.iter().zip(&sorted[keep - 1..]).enumerate() {
        better(first as f64, centre, bottom, top, &now, &mut next);
        std::mem::swap(&mut now, &mut next);
    }
    low.fill(E::ZERO);
    high.fill(E::ZERO);
    mean.fill(0.0);
    for (i, row) in sorted.iter().enumerate() {
        add_inside(i as f64, row, &now.start, keep, (&mut *low, &mut *high), mean);
    }
}

/// The best window so far: its first place, and the distance of its farthest number from the median.
struct Best {
    start: Row<f64>,
    least: Row<f64>,
}

impl Default for Best {
    fn default() -> Self {
        Self {
            start: [0.0; _],
            least: [f64::INFINITY; _],
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn better<E: Element>(first: f64, [a, b]: [&Row<E>; 2], bottom: &Row<E>, top: &Row<E>, now: &Best, next: &mut Best) {
    for l in 0..RUN {
        let centre = halfway(a[l], b[l]);
        let (below, above) = (centre - bottom[l].to_f64(), top[l].to_f64() - centre);
        let farthest = if below > above { below } else { above };
        let better = farthest < now.least[l];
        next.least[l] = if better { farthest } else { now.least[l] };
        next.start[l] = if better { first } else { now.start[l] };
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_inside<E: Element>(
    i: f64,
    row: &Row<E>,
    start: &Row<f64>,
    keep: usize,
    (low, high): (&mut Row<E>, &mut Row<E>),
    mean: &mut Row<f64>,
) {
    let (each, last) = (1.0 / keep as f64, keep as f64 - 1.0);
    for l in 0..RUN {
        let place = i - start[l];
        low[l] = low[l] + if place == 0.0 { row[l] } else { E::ZERO };
        high[l] = high[l] + if place == last { row[l] } else { E::ZERO };
        let part = row[l].to_f64() * each;
        mean[l] += if (place >= 0.0) & (place <= last) { part } else { 0.0 };
    }
}
