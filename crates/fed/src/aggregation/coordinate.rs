//! Kernels that combine vectors coordinate by coordinate: they sort the vectors' numbers and take some from the middle.

mod batcher;
mod halfway;
mod network;
mod number;
mod unrolled;
mod weights;
mod window;

pub(crate) use number::Number;

use halfway::halfway;
use network::Network;
use window::{Middle, Run, mean_at_median, mean_from};

use super::plan::CoordinateRule;
use super::row::{RUN, Row};
use super::share::shares;
use crate::codec::Element;

/// A rule made ready for vectors with certain shares.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    rule: CoordinateRule,
    shares: Vec<f64>,
    /// True if all shares are the same: the rule then is the one of the literature.
    equal: bool,
    median_weights: Vec<f32>,
    network: Network,
}

/// Buffers of one thread.
#[derive(Debug)]
pub(crate) struct Buffers<E> {
    sorted: Vec<Row<E>>,
    weights: Vec<Row<f32>>,
    /// Of each coordinate the least and the largest number that the result is made of.
    low: Row<E>,
    high: Row<E>,
    mean: Row<f64>,
}

impl<E: Element> Default for Buffers<E> {
    fn default() -> Self {
        Self {
            sorted: vec![],
            weights: vec![],
            low: [E::ZERO; _],
            high: [E::ZERO; _],
            mean: [0.0; _],
        }
    }
}

impl Kernel {
    /// Makes the kernel for vectors with these shares.
    pub fn new(rule: CoordinateRule, shares: &[f64]) -> Self {
        let n = shares.len();
        let middle = match rule {
            CoordinateRule::Median => (n.saturating_sub(1) / 2, n / 2 + 1),
            CoordinateRule::TrimmedMean { f } => (trimmed(f, n), n - trimmed(f, n)),
            CoordinateRule::MeanAroundMedian { .. } => (0, n),
        };
        let equal = shares.windows(2).all(|pair| pair[0] == pair[1]);
        // A weighted median adds up the weights from the smallest number on, and a mean by shares counts equal numbers.
        let all = !equal;
        let needed = if all { 0..n } else { middle.0..middle.1 };
        Self {
            rule,
            shares: shares.to_vec(),
            equal,
            median_weights: shares.iter().map(|share| weights::weight_of(*share)).collect(),
            network: Network::new(n, needed),
        }
    }

    /// Returns the mean weight of each vector in the result, from the number of coordinates in which it was kept.
    pub fn weights(&self, kept: &[u64]) -> Vec<f64> {
        let weight = |share: f64, kept: u64| match self.rule {
            CoordinateRule::Median => kept as f64,
            CoordinateRule::TrimmedMean { .. } | CoordinateRule::MeanAroundMedian { .. } => share * kept as f64,
        };
        let weights: Vec<f64> = self
            .shares
            .iter()
            .zip(kept)
            .map(|(share, kept)| weight(*share, *kept))
            .collect();
        shares(&weights, None)
    }

    /// Combines vectors: `rows[i]` has vector i's numbers. Writes one number a coordinate to `out`, which is not longer than a
    /// run, and adds to `kept` in how many coordinates each vector's number was among those that the result is made of.
    pub fn run<E: Number>(&self, rows: &[Row<E>], buffers: &mut Buffers<E>, out: &mut [f64], kept: &mut [u64]) {
        match self.rule {
            CoordinateRule::Median => self.median(rows, buffers),
            CoordinateRule::TrimmedMean { .. } | CoordinateRule::MeanAroundMedian { .. } => self.mean(rows, buffers),
        }
        out.copy_from_slice(&buffers.mean[..out.len()]);
        let (low, high) = (&buffers.low[..out.len()], &buffers.high[..out.len()]);
        for (row, kept) in rows.iter().zip(kept) {
            *kept += u64::from(count(&row[..out.len()], low, high));
        }
    }

    fn median<E: Number>(&self, rows: &[Row<E>], buffers: &mut Buffers<E>) {
        let Buffers {
            sorted,
            weights,
            low,
            high,
            mean,
        } = buffers;
        if !self.equal {
            copy(rows, sorted);
            weights.clear();
            weights.extend(self.median_weights.iter().map(|weight| [*weight; _]));
            self.network.sort_with(sorted, weights);
            weights::middle(sorted, weights, low, high);
        } else if !E::middle(rows, low, high) {
            copy(rows, sorted);
            self.network.sort(sorted);
            (*low, *high) = (sorted[(rows.len() - 1) / 2], sorted[rows.len() / 2]);
        }
        middles(low, high, mean);
    }

    fn mean<E: Number>(&self, rows: &[Row<E>], buffers: &mut Buffers<E>) {
        let Buffers {
            sorted,
            low,
            high,
            mean,
            ..
        } = buffers;
        sorted.resize(rows.len(), [E::ZERO; _]);
        if !E::sort(rows, sorted) {
            copy(rows, sorted);
            self.network.sort(sorted);
        }
        let (n, shares) = (rows.len(), if self.equal { &[][..] } else { &self.shares });
        let run = Run { rows, sorted, shares };
        let mut middle = Middle { low, high, mean };
        match self.rule {
            CoordinateRule::MeanAroundMedian { keep } => mean_at_median(&run, keep.min(n), &mut middle),
            CoordinateRule::TrimmedMean { f } if !self.equal => {
                mean_from(&run, trimmed(f, n), n - 2 * trimmed(f, n), &mut middle);
            }
            CoordinateRule::TrimmedMean { f } => {
                let kept = &run.sorted[trimmed(f, n)..n - trimmed(f, n)];
                (*middle.low, *middle.high) = (kept[0], kept[kept.len() - 1]);
                add_parts(kept, middle.mean);
            }
            CoordinateRule::Median => unreachable!("a median is no mean"),
        }
    }
}

/// Returns how many of n numbers are trimmed at each end.
fn trimmed(f: usize, n: usize) -> usize {
    f.min(n.saturating_sub(1) / 2)
}

/// Copies rows; a negative zero becomes zero, so that equal numbers have equal bits.
fn copy<E: Element>(rows: &[Row<E>], out: &mut Vec<Row<E>>) {
    out.clear();
    out.extend(rows.iter().map(|row| row.map(Element::without_sign_of_zero)));
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn middles<E: Element>(low: &Row<E>, high: &Row<E>, out: &mut Row<f64>) {
    for l in 0..RUN {
        out[l] = halfway(low[l], high[l]);
    }
}

/// Writes the mean of the rows. Each number is divided, because a sum of f64 can be beyond the largest one.
fn add_parts<E: Element>(rows: &[Row<E>], out: &mut Row<f64>) {
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

/// Counts the coordinates in which a row's number lies between two others.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn count<E: Element>(row: &[E], low: &[E], high: &[E]) -> u32 {
    let ends = low.iter().zip(high);
    row.iter()
        .zip(ends)
        .map(|(x, (low, high))| u32::from((x >= low) & (x <= high)))
        .fold(0, |sum, inside| sum + inside)
}
