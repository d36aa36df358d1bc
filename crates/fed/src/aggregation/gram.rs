//! The inner products of all pairs of a round's updates.

use super::row::{RUN, Row};

/// Lanes in which a product is summed; lane i takes every eighth element. The order is fixed, so the bits are the same on
/// every machine.
const LANES: usize = 8;
/// Elements of all rows that are multiplied before the next ones: those of 20 rows (20 KiB) stay in the first-level cache.
const STRIP: usize = 128;

/// Sums of the products of two vectors with two others: `[a·c, a·d, b·c, b·d]`.
type Four = [[f64; LANES]; 4];

/// Inner products of n vectors, which are added run by run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gram {
    n: usize,
    /// The products row by row; those below the diagonal stay 0.
    products: Vec<f64>,
    /// The sums of runs that are not yet in the products, for each pair of pairs of vectors.
    sums: Vec<Four>,
}

impl Gram {
    /// Makes the products of `n` zero vectors.
    pub fn new(n: usize) -> Self {
        Self {
            n,
            products: vec![0.0; n * n],
            sums: vec![],
        }
    }

    /// Adds the products of one run: `rows[i]` has the elements of vector i, and zeros in the rest of the run.
    pub fn add_run(&mut self, rows: &[Row<f64>]) {
        let pairs = self.n.div_ceil(2);
        self.sums.resize(pairs * (pairs + 1) / 2, [[0.0; LANES]; 4]);
        for strip in 0..RUN / STRIP {
            let row = |i: usize| &rows[i.min(self.n - 1)].as_chunks::<STRIP>().0[strip];
            let mut sums = self.sums.iter_mut();
            for i in (0..self.n).step_by(2) {
                for (j, sums) in (i..self.n).step_by(2).zip(&mut sums) {
                    add_four(row(i), row(i + 1), row(j), row(j + 1), sums);
                }
            }
        }
    }

    /// Brings the sums of all runs so far into the products.
    pub fn settle(&mut self) {
        let mut sums = std::mem::take(&mut self.sums).into_iter();
        for i in (0..self.n).step_by(2) {
            for (j, four) in (i..self.n).step_by(2).zip(&mut sums) {
                for (k, lanes) in four.into_iter().enumerate() {
                    let (a, b) = (i + k / 2, j + k % 2);
                    if a <= b && b < self.n {
                        self.products[a * self.n + b] += sum(lanes);
                    }
                }
            }
        }
    }

    /// Adds the products of other elements of the same vectors.
    pub fn add(&mut self, other: &Self) {
        if self.n == 0 {
            *self = other.clone();
            return;
        }
        for (sum, x) in self.products.iter_mut().zip(&other.products) {
            *sum += x;
        }
    }

    /// Returns the whole matrix, row by row.
    pub fn into_matrix(mut self) -> Vec<f64> {
        for i in 0..self.n {
            for j in 0..i {
                self.products[i * self.n + j] = self.products[j * self.n + i];
            }
        }
        self.products
    }
}

fn sum(lanes: [f64; LANES]) -> f64 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// Adds the products of two strips with two others. Each element is loaded once for two products.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_four(a: &[f64; STRIP], b: &[f64; STRIP], c: &[f64; STRIP], d: &[f64; STRIP], sums: &mut Four) {
    // In a variable of its own they stay in registers.
    let mut four = *sums;
    let (a, b) = (a.as_chunks::<LANES>().0, b.as_chunks::<LANES>().0);
    let (c, d) = (c.as_chunks::<LANES>().0, d.as_chunks::<LANES>().0);
    for i in 0..STRIP / LANES {
        for l in 0..LANES {
            four[0][l] += a[i][l] * c[i][l];
            four[1][l] += a[i][l] * d[i][l];
            four[2][l] += b[i][l] * c[i][l];
            four[3][l] += b[i][l] * d[i][l];
        }
    }
    *sums = four;
}
