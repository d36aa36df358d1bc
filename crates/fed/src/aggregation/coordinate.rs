//! Kernels that combine vectors coordinate by coordinate: they sort the vectors' numbers and take some from the middle.

mod lanes;
mod network;

use lanes::{LANES, Lanes};
use network::Network;

use super::plan::CoordinateRule;
use super::share::shares;
use crate::codec::Element;

/// The weights of a weighted median are whole numbers that add up to about this many, so that every sum of them is exact in
/// f32.
const MEDIAN_WEIGHTS: f64 = (1u32 << 22) as f64;

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
    sorted: Vec<Lanes<E>>,
    weights: Vec<Lanes<f32>>,
}

impl<E> Default for Buffers<E> {
    fn default() -> Self {
        Self {
            sorted: vec![],
            weights: vec![],
        }
    }
}

/// What a rule takes of one group of coordinates: the numbers from `low` to `high`, and their combination.
struct Middle<E> {
    low: Lanes<E>,
    high: Lanes<E>,
    result: Lanes<f64>,
}

impl Kernel {
    /// Makes the kernel for vectors with these shares.
    pub fn new(rule: CoordinateRule, shares: &[f64]) -> Self {
        let n = shares.len();
        let middle = match rule {
            CoordinateRule::Median => (n.saturating_sub(1) / 2, n / 2 + 1),
            CoordinateRule::TrimmedMean { f } => (f.min(n.saturating_sub(1) / 2), n - f.min(n.saturating_sub(1) / 2)),
            CoordinateRule::MeanAroundMedian { .. } => (0, n),
        };
        let equal = shares.windows(2).all(|pair| pair[0] == pair[1]);
        // A weighted median adds up the weights from the smallest number on.
        let all = !equal && rule == CoordinateRule::Median;
        let needed = if all { 0..n } else { middle.0..middle.1 };
        let weight = |share: &f64| match *share {
            0.0 => 0.0,
            share => (share * MEDIAN_WEIGHTS).round_ties_even().max(1.0) as f32,
        };
        Self {
            rule,
            shares: shares.to_vec(),
            equal,
            median_weights: shares.iter().map(weight).collect(),
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

    /// Combines vectors: `rows[i]` has vector i's numbers. Writes one number a coordinate to `out`, and adds to `kept` in how many
    /// coordinates each vector's number was among those that the result is made of.
    pub fn run<E: Element>(&self, rows: &[&[E]], buffers: &mut Buffers<E>, out: &mut [f64], kept: &mut [u64]) {
        run_groups(self, rows, buffers, out, kept);
    }
}

/// Combines group after group. All that it calls is inlined, so that the processor's widest registers are chosen once a run.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn run_groups<E: Element>(kernel: &Kernel, rows: &[&[E]], buffers: &mut Buffers<E>, out: &mut [f64], kept: &mut [u64]) {
    for at in (0..out.len()).step_by(LANES) {
        let lanes = LANES.min(out.len() - at);
        let middle = group(kernel, rows, at, lanes, buffers);
        out[at..at + lanes].copy_from_slice(&middle.result[..lanes]);
        count(rows, at, lanes, &middle, kept);
    }
}

/// Combines the numbers of up to [`LANES`] coordinates from `at` on.
#[inline(always)]
fn group<E: Element>(kernel: &Kernel, rows: &[&[E]], at: usize, lanes: usize, buffers: &mut Buffers<E>) -> Middle<E> {
    let Buffers { sorted, weights } = buffers;
    sorted.clear();
    sorted.extend(rows.iter().map(|row| load(row, at, lanes)));
    if !kernel.equal && kernel.rule == CoordinateRule::Median {
        weights.clear();
        weights.extend(kernel.median_weights.iter().map(|weight| [*weight; LANES]));
        kernel.network.sort_with(sorted, weights);
        return weighted_median(sorted, weights);
    }
    kernel.network.sort(sorted);
    let n = sorted.len();
    match kernel.rule {
        CoordinateRule::Median => median(sorted),
        CoordinateRule::TrimmedMean { f } => {
            let f = f.min((n - 1) / 2);
            let chosen = Window {
                start: [f as u32; LANES],
                keep: n - 2 * f,
            };
            mean(kernel, rows, at, lanes, sorted, &chosen)
        }
        CoordinateRule::MeanAroundMedian { keep } => {
            let chosen = window_at_median(sorted, keep.min(n));
            mean(kernel, rows, at, lanes, sorted, &chosen)
        }
    }
}

/// Loads numbers of a row; a negative zero becomes zero, so that equal numbers have equal bits.
#[inline(always)]
fn load<E: Element>(row: &[E], at: usize, lanes: usize) -> Lanes<E> {
    let mut loaded = [E::ZERO; LANES];
    match row[at..].first_chunk::<LANES>() {
        Some(whole) => loaded = *whole,
        None => loaded[..lanes].copy_from_slice(&row[at..at + lanes]),
    }
    loaded.map(Element::without_sign_of_zero)
}

#[inline(always)]
fn median<E: Element>(sorted: &[Lanes<E>]) -> Middle<E> {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    Middle {
        low,
        high,
        result: halfway(&low, &high),
    }
}

/// Returns the middle between two numbers. Halves are added, because the sum of two f64 can be beyond the largest one.
#[inline(always)]
fn halfway<E: Element>(low: &Lanes<E>, high: &Lanes<E>) -> Lanes<f64> {
    std::array::from_fn(|l| 0.5 * low[l].to_f64() + 0.5 * high[l].to_f64())
}

/// The weighted median is the number at which half of the weight is reached; if it is reached exactly, the middle between
/// this number and the next one.
#[inline(always)]
fn weighted_median<E: Element>(sorted: &[Lanes<E>], weights: &mut [Lanes<f32>]) -> Middle<E> {
    let mut total = [0.0f32; LANES];
    for weights in weights.iter_mut() {
        for (total, weight) in total.iter_mut().zip(weights) {
            *total += *weight;
            *weight = *total;
        }
    }
    let last = sorted[sorted.len() - 1];
    let (mut low, mut high) = (last, last);
    for (numbers, reached) in sorted.iter().zip(&*weights).rev() {
        for l in 0..LANES {
            let twice = 2.0 * reached[l];
            low[l] = if twice >= total[l] { numbers[l] } else { low[l] };
            high[l] = if twice > total[l] { numbers[l] } else { high[l] };
        }
    }
    Middle {
        low,
        high,
        result: halfway(&low, &high),
    }
}

/// The numbers that a mean keeps: `keep` sorted ones from `start` on.
struct Window {
    start: Lanes<u32>,
    keep: usize,
}

/// Returns the window with the `keep` numbers next to the median; the lower ones of two with the same distance.
#[inline(always)]
fn window_at_median<E: Element>(sorted: &[Lanes<E>], keep: usize) -> Window {
    let centre = median(sorted).result;
    let (mut start, mut least) = ([0u32; LANES], [f64::INFINITY; LANES]);
    for (first, numbers) in sorted[..=sorted.len() - keep].iter().enumerate() {
        let last = &sorted[first + keep - 1];
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

/// Returns the mean of the window's numbers, by shares.
#[inline(always)]
fn mean<E: Element>(
    kernel: &Kernel,
    rows: &[&[E]],
    at: usize,
    lanes: usize,
    sorted: &[Lanes<E>],
    window: &Window,
) -> Middle<E> {
    let (mut low, mut high, mut sum) = ([E::ZERO; LANES], [E::ZERO; LANES], [0.0f64; LANES]);
    let each = 1.0 / window.keep as f64;
    for (i, numbers) in sorted.iter().enumerate() {
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
    if !kernel.equal {
        by_shares(kernel, rows, at, lanes, sorted, window, (&low, &high), &mut sum);
    }
    Middle { low, high, result: sum }
}

/// Replaces the mean of the window by the mean by shares. Of equal numbers at an end of the window some may be in the window
/// and some not; each of them then counts in part, so that the result does not depend on the vectors' order.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "an inner loop that is apart for its name")]
fn by_shares<E: Element>(
    kernel: &Kernel,
    rows: &[&[E]],
    at: usize,
    lanes: usize,
    sorted: &[Lanes<E>],
    window: &Window,
    (low, high): (&Lanes<E>, &Lanes<E>),
    mean: &mut Lanes<f64>,
) {
    // How many numbers are equal to the ends, and how many of these are in the window.
    let (mut lows, mut lows_in, mut highs, mut highs_in) = ([0u32; LANES], [0u32; LANES], [0u32; LANES], [0u32; LANES]);
    for (i, numbers) in sorted.iter().enumerate() {
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
    let (mut sum, mut weight) = ([0.0f64; LANES], [0.0f64; LANES]);
    for pass in 0..2 {
        for (row, share) in rows.iter().zip(&kernel.shares) {
            let numbers = load(row, at, lanes);
            for l in 0..LANES {
                let x = numbers[l];
                let inside = if x > low[l] && x < high[l] { 1.0 } else { 0.0 };
                let inside = if x == low[l] { part(lows_in[l], lows[l]) } else { inside };
                let inside = if x == high[l] {
                    part(highs_in[l], highs[l])
                } else {
                    inside
                };
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
        // Nobody in the window may have a share; then the numbers count the same.
        mean[l] = if low[l] == high[l] {
            low[l].to_f64()
        } else if weight[l] > 0.0 {
            sum[l]
        } else {
            mean[l]
        };
    }
}

/// Counts for each vector the coordinates in which its number lies in the middle.
#[inline(always)]
fn count<E: Element>(rows: &[&[E]], at: usize, lanes: usize, middle: &Middle<E>, kept: &mut [u64]) {
    for (row, kept) in rows.iter().zip(kept) {
        let numbers = load(row, at, lanes);
        let mut inside = [0u32; LANES];
        for l in 0..LANES {
            inside[l] = u32::from((numbers[l] >= middle.low[l]) & (numbers[l] <= middle.high[l]));
        }
        *kept += u64::from(inside[..lanes].iter().sum::<u32>());
    }
}
