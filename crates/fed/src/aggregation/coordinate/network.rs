//! Sorting networks: comparisons in a fixed order, which sort any numbers. So many coordinates can be sorted at once.

use std::ops::Range;

use super::batcher::Batcher;
use crate::aggregation::row::{RUN, Row};
use crate::codec::Element;

/// Coordinates that are compared at once: two or more registers of every machine.
const LANES: usize = 16;
/// Coordinates that go through the whole network before the next ones: those of 100 rows then fit into the first-level cache.
const STRIP: usize = 64;

/// Batcher's network for n rows, without the comparisons that the needed places do not depend on.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Pairs of places: the smaller number goes to the first.
    comparisons: Vec<(u16, u16)>,
}

impl Network {
    /// Makes the network that brings the right numbers to the `needed` places; at the others any number may stand.
    pub fn new(n: usize, needed: Range<usize>) -> Self {
        let mut batcher = Batcher::new(n);
        let all: Vec<_> = std::iter::from_fn(|| batcher.next()).collect();
        let mut wanted: Vec<bool> = (0..n).map(|i| needed.contains(&i)).collect();
        // Backwards: a comparison is needed if one of its places is, and then both places are needed before it.
        let mut comparisons: Vec<_> = all
            .into_iter()
            .rev()
            .filter(|(a, b)| {
                let used = wanted[*a] || wanted[*b];
                wanted[*a] |= used;
                wanted[*b] |= used;
                used
            })
            .map(|(a, b)| (a as u16, b as u16))
            .collect();
        comparisons.reverse();
        Self { comparisons }
    }

    /// Sorts each coordinate.
    pub fn sort<E: Element>(&self, rows: &mut [Row<E>]) {
        sort(&self.comparisons, rows);
    }

    /// Sorts each coordinate, and brings the weights along.
    pub fn sort_with<E: Element>(&self, rows: &mut [Row<E>], weights: &mut [Row<f32>]) {
        sort_with(&self.comparisons, rows, weights);
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn sort<E: Element>(comparisons: &[(u16, u16)], rows: &mut [Row<E>]) {
    for strip in (0..RUN).step_by(STRIP) {
        for (a, b) in comparisons {
            let Some((x, y)) = two(rows, *a, *b) else { continue };
            for at in (strip..strip + STRIP).step_by(LANES) {
                let (x, y) = (lanes(x, at), lanes(y, at));
                // Both are read before one is written: else the compiler writes under masks, which takes several times as long.
                let (p, q) = (*x, *y);
                let (mut small, mut large) = (p, q);
                for l in 0..LANES {
                    small[l] = if p[l] < q[l] { p[l] } else { q[l] };
                    large[l] = if p[l] < q[l] { q[l] } else { p[l] };
                }
                (*x, *y) = (small, large);
            }
        }
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn sort_with<E: Element>(comparisons: &[(u16, u16)], rows: &mut [Row<E>], weights: &mut [Row<f32>]) {
    for strip in (0..RUN).step_by(STRIP) {
        for (a, b) in comparisons {
            let (Some((x, y)), Some((v, w))) = (two(rows, *a, *b), two(weights, *a, *b)) else {
                continue;
            };
            for at in (strip..strip + STRIP).step_by(LANES) {
                let (x, y, v, w) = (lanes(x, at), lanes(y, at), lanes(v, at), lanes(w, at));
                let (p, q, r, s) = (*x, *y, *v, *w);
                let (mut small, mut large, mut of_small, mut of_large) = (p, q, r, s);
                for l in 0..LANES {
                    let ordered = p[l] < q[l];
                    small[l] = if ordered { p[l] } else { q[l] };
                    large[l] = if ordered { q[l] } else { p[l] };
                    of_small[l] = if ordered { r[l] } else { s[l] };
                    of_large[l] = if ordered { s[l] } else { r[l] };
                }
                (*x, *y, *v, *w) = (small, large, of_small, of_large);
            }
        }
    }
}

/// Returns two of the rows.
#[inline(always)]
fn two<E>(rows: &mut [Row<E>], a: u16, b: u16) -> Option<(&mut Row<E>, &mut Row<E>)> {
    let (before, from_b) = rows.split_at_mut_checked(usize::from(b))?;
    Some((before.get_mut(usize::from(a))?, from_b.first_mut()?))
}

/// Returns the coordinates of a row from `at` on.
#[inline(always)]
fn lanes<E>(row: &mut Row<E>, at: usize) -> &mut [E; LANES] {
    &mut row.as_chunks_mut().0[at / LANES]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that sorts all numbers of 0 and 1 sorts all numbers (Knuth, theorem 5.3.4Z).
    #[test]
    fn every_network_sorts_all_zeros_and_ones() {
        for n in 1..=14usize {
            let all: Vec<u32> = (0..1 << n).collect();
            for needed in [0..n, (n - 1) / 2..n / 2 + 1, n / 4..n - n / 4] {
                let network = Network::new(n, needed.clone());
                for bits in all.chunks(RUN) {
                    let number = |row: usize, l: usize| bits.get(l).map_or(0.0, |bits| (bits >> row & 1) as f32);
                    let mut rows: Vec<Row<f32>> = (0..n).map(|row| std::array::from_fn(|l| number(row, l))).collect();
                    let (mut same, mut weights) = (rows.clone(), rows.clone());
                    network.sort(&mut rows);
                    network.sort_with(&mut same, &mut weights);
                    for (l, bits) in bits.iter().enumerate() {
                        let zeros = n - bits.count_ones() as usize;
                        for i in needed.clone() {
                            let right = f32::from(u8::from(i >= zeros));
                            assert_eq!(
                                [rows[i][l], same[i][l], weights[i][l]],
                                [right; 3],
                                "n {n}, place {i}, {bits:b}"
                            );
                        }
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
