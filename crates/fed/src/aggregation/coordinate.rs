//! Kernels that combine vectors coordinate by coordinate: they sort the vectors' numbers and take some from the middle.

mod batcher;
mod halfway;
mod network;
mod number;
mod parts;
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
        let sorted = &mut buffers.sorted;
        sorted.resize(rows.len(), [E::ZERO; _]);
        if !E::sort(rows, sorted) {
            copy(rows, sorted);
            self.network.sort(sorted);
        }
        match self.rule {
            CoordinateRule::Median => unreachable!("a median is no mean"),
            CoordinateRule::MeanAroundMedian { keep } => self.mean_at_median(rows, keep.min(rows.len()), buffers),
            CoordinateRule::TrimmedMean { f } => self.trimmed_mean(rows, trimmed(f, rows.len()), buffers),
        }
    }

    fn mean_at_median<E: Number>(&self, rows: &[Row<E>], keep: usize, buffers: &mut Buffers<E>) {
        let Buffers {
            sorted,
            low,
            high,
            mean,
            ..
        } = buffers;
        if self.equal {
            parts::mean_at_median(sorted, keep, (low, high), mean);
            return;
        }
        let run = Run {
            rows,
            sorted,
            shares: &self.shares,
        };
        mean_at_median(&run, keep, &mut Middle { low, high, mean });
    }

    fn trimmed_mean<E: Number>(&self, rows: &[Row<E>], f: usize, buffers: &mut Buffers<E>) {
        let Buffers {
            sorted,
            low,
            high,
            mean,
            ..
        } = buffers;
        let kept = &sorted[f..sorted.len() - f];
        (*low, *high) = (kept[0], kept[kept.len() - 1]);
        if self.equal {
            parts::mean(kept, mean);
            return;
        }
        // A number that is trimmed and one that is kept may be equal: then both count in part.
        let ties = f > 0 && parts::any_tie(&sorted[f - 1], low, high, &sorted[sorted.len() - f]);
        if ties {
            let run = Run {
                rows,
                sorted,
                shares: &self.shares,
            };
            mean_from(&run, f, kept.len(), &mut Middle { low, high, mean });
            return;
        }
        parts::mean(kept, mean);
        parts::mean_by_shares(rows, &self.shares, (low, high), mean);
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

/// Counts the coordinates in which a row's number lies between two others.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn count<E: Element>(row: &[E], low: &[E], high: &[E]) -> u32 {
    let ends = low.iter().zip(high);
    row.iter()
        .zip(ends)
        .map(|(x, (low, high))| u32::from((x >= low) & (x <= high)))
        .sum()
}
