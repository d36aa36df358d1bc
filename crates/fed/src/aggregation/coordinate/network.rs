//! Sorting networks: comparisons in a fixed order, which sort any numbers. So all lanes can be sorted at once.

use std::ops::Range;

use super::lanes::{LANES, Lanes};
use crate::codec::Element;

/// Batcher's odd-even merge sort (Knuth, The Art of Computer Programming, volume 3, algorithm 5.2.2M) for n numbers, without
/// the comparisons that the needed places do not depend on.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Pairs of places: the smaller number goes to the first.
    comparisons: Vec<(u16, u16)>,
}

impl Network {
    /// Makes the network that brings the right numbers to the `needed` places; at the others any number may stand.
    pub fn new(n: usize, needed: Range<usize>) -> Self {
        let mut comparisons = vec![];
        let top = n.next_power_of_two() / 2;
        let mut p = top;
        while p > 0 {
            let (mut q, mut r, mut d) = (top, 0, p);
            loop {
                for i in (0..n.saturating_sub(d)).filter(|i| i & p == r) {
                    comparisons.push((i as u16, (i + d) as u16));
                }
                if q == p {
                    break;
                }
                (d, q, r) = (q - p, q / 2, p);
            }
            p /= 2;
        }
        let mut wanted: Vec<bool> = (0..n).map(|i| needed.contains(&i)).collect();
        // Backwards: a comparison is needed if one of its places is, and then both places are needed before it.
        comparisons = comparisons
            .into_iter()
            .rev()
            .filter(|(a, b)| {
                let (a, b) = (usize::from(*a), usize::from(*b));
                let used = wanted[a] || wanted[b];
                wanted[a] |= used;
                wanted[b] |= used;
                used
            })
            .collect();
        comparisons.reverse();
        Self { comparisons }
    }

    /// Sorts each lane.
    #[inline(always)]
    pub fn sort<E: Element>(&self, numbers: &mut [Lanes<E>]) {
        for (a, b) in &self.comparisons {
            let (a, b) = (usize::from(*a), usize::from(*b));
            let (x, y) = (numbers[a], numbers[b]);
            let (mut small, mut large) = (x, y);
            for l in 0..LANES {
                small[l] = if x[l] < y[l] { x[l] } else { y[l] };
                large[l] = if x[l] < y[l] { y[l] } else { x[l] };
            }
            (numbers[a], numbers[b]) = (small, large);
        }
    }

    /// Sorts each lane, and brings the weights along.
    #[inline(always)]
    pub fn sort_with<E: Element>(&self, numbers: &mut [Lanes<E>], weights: &mut [Lanes<f32>]) {
        for (a, b) in &self.comparisons {
            let (a, b) = (usize::from(*a), usize::from(*b));
            let (x, y, p, q) = (numbers[a], numbers[b], weights[a], weights[b]);
            for l in 0..LANES {
                let ordered = x[l] < y[l];
                numbers[a][l] = if ordered { x[l] } else { y[l] };
                numbers[b][l] = if ordered { y[l] } else { x[l] };
                weights[a][l] = if ordered { p[l] } else { q[l] };
                weights[b][l] = if ordered { q[l] } else { p[l] };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that sorts all numbers of 0 and 1 sorts all numbers (Knuth, theorem 5.3.4Z).
    #[test]
    fn every_network_sorts_all_zeros_and_ones() {
        for n in 1..=14usize {
            for needed in [0..n, (n - 1) / 2..n / 2 + 1, n / 4..n - n / 4] {
                let network = Network::new(n, needed.clone());
                for bits in 0..1u32 << n {
                    let mut numbers: Vec<Lanes<f32>> = (0..n).map(|i| [(bits >> i & 1) as f32; LANES]).collect();
                    network.sort(&mut numbers);
                    let ones = bits.count_ones() as usize;
                    for i in needed.clone() {
                        let right = if i >= n - ones { 1.0 } else { 0.0 };
                        assert_eq!(numbers[i], [right; LANES], "n {n}, place {i}, bits {bits:b}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_networks_are_as_small_as_published() {
        // Knuth's count for 16 numbers is 63, which is Batcher's; what the middle alone needs is less.
        let size = |n: usize, needed| Network::new(n, needed).comparisons.len();
        assert_eq!([2, 4, 8, 16].map(|n| size(n, 0..n)), [1, 5, 19, 63]);
        assert!(size(20, 9..11) < 90, "{}", size(20, 9..11));
    }
}
