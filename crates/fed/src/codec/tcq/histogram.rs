//! Histograms of indices, from which an encoder makes its tables.

use super::table::{SHIFT_MAX, SYMBOLS_MAX, Table, frequencies};

/// Indices, shifted, from -127 to 127 are counted one by one.
const MIDDLE: i32 = 127;
/// Largest root mean square of shifted indices: five times of it are within the histogram.
const SPREAD_MAX: f64 = 24.0;
/// Bits that an escaped index needs after its escape, mostly.
const ESCAPED_BITS: f64 = 16.0;
/// Bits that a symbol needs in a table, about.
const SYMBOL_BITS: f64 = 10.0;
/// A symbol rarer than this is left to the escape: in a table it would have at least 1 / 4096, and the 16 bits of an escaped
/// index cost less.
const RAREST: f64 = 2.2e-5;

/// Counts of indices for even and for odd positions.
#[derive(Debug, Clone)]
pub struct Histogram {
    shift: u32,
    counts: [[u64; SYMBOLS_MAX]; 2],
    /// Indices outside of the counted range.
    outside: [u64; 2],
}

impl Histogram {
    /// Makes an empty histogram for positions with this mean square.
    pub fn new(mean_square: f64) -> Self {
        let mut shift = 0;
        // An index is half a position.
        while mean_square.sqrt() / 2.0 > SPREAD_MAX * f64::from(1u32 << shift) && shift < SHIFT_MAX {
            shift += 1;
        }
        Self {
            shift,
            counts: [[0; SYMBOLS_MAX]; 2],
            outside: [0; 2],
        }
    }

    /// Counts positions.
    pub fn add(&mut self, positions: &[i32]) {
        for position in positions {
            let (odd, symbol) = ((position & 1) as usize, (position >> 1 >> self.shift) + MIDDLE);
            match self.counts[odd].get_mut(symbol as usize) {
                Some(count) => *count += 1,
                None => self.outside[odd] += 1,
            }
        }
    }

    /// Returns the sum of two histograms, with the larger of the two shifts.
    pub fn with(&self, other: &Self) -> Self {
        let (mut sum, other) = if self.shift >= other.shift {
            (self.clone(), other)
        } else {
            (other.clone(), self)
        };
        let coarser = sum.shift - other.shift;
        for odd in 0..2 {
            sum.outside[odd] += other.outside[odd];
            for (symbol, count) in (0..).zip(&other.counts[odd]) {
                sum.counts[odd][(((symbol - MIDDLE) >> coarser) + MIDDLE) as usize] += count;
            }
        }
        sum
    }

    /// Returns the bits that `scale` times these indices need, with their table.
    pub fn bits(&self, scale: f64) -> f64 {
        let mut bits = 0.0;
        for (counts, outside) in self.counts.iter().zip(self.outside) {
            let total = counts.iter().sum::<u64>() + outside;
            let of = |count: u64| {
                if count == 0 {
                    0.0
                } else {
                    count as f64 * (log2(total) - log2(count))
                }
            };
            let entropy = counts.iter().fold(of(outside), |sum, count| sum + of(*count));
            bits += scale * (entropy + outside as f64 * ESCAPED_BITS + total as f64 * f64::from(self.shift));
            bits += 16.0 + SYMBOL_BITS * counts.iter().filter(|count| **count > 0).count() as f64;
        }
        bits
    }

    /// Makes the table for these counts.
    pub fn table(&self) -> Table {
        let used = |symbol: &usize| {
            let often = |odd: usize| {
                let total = self.counts[odd].iter().sum::<u64>() + self.outside[odd];
                self.counts[odd][*symbol] as f64 > RAREST * total as f64
            };
            often(0) || often(1)
        };
        let first = (0..SYMBOLS_MAX).find(used).unwrap_or(0);
        let end = (0..SYMBOLS_MAX).rev().find(used).unwrap_or(first) + 1;
        let list = |odd: usize| {
            let mut counts = self.counts[odd][first..end].to_vec();
            let others = self.counts[odd].iter().sum::<u64>() - counts.iter().sum::<u64>();
            counts.push(others + self.outside[odd]);
            frequencies(&counts)
        };
        Table {
            shift: self.shift,
            low: first as i32 - MIDDLE,
            frequencies: [list(0), list(1)],
        }
    }
}

/// Returns the logarithm to base 2, within 10^-4. The platform's own differs from machine to machine, and an update must not.
fn log2(x: u64) -> f64 {
    let exponent = x.ilog2();
    let mantissa = x as f64 / (1u64 << exponent) as f64;
    // ln(m) = 2 artanh((m - 1) / (m + 1)), and m is 1 to 2.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let (square, two_over_ln_2) = (z * z, 2.0 * std::f64::consts::LOG2_E);
    f64::from(exponent) + two_over_ln_2 * z * (1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square / 7.0)))
}
