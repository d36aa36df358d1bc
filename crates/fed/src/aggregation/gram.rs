//! The inner products of all pairs of a round's updates.

/// Lanes in which a product is summed; lane i takes every eighth element. The order is fixed, so the bits are the same on
/// every machine.
const LANES: usize = 8;

/// Inner products of n vectors, which are added block by block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gram {
    n: usize,
    /// The products row by row; those below the diagonal stay 0.
    products: Vec<f64>,
}

impl Gram {
    /// Makes the products of `n` zero vectors.
    pub fn new(n: usize) -> Self {
        Self {
            n,
            products: vec![0.0; n * n],
        }
    }

    /// Adds the products of one block: `rows[i]` has the elements of vector i. All rows have one length.
    pub fn add_block(&mut self, rows: &[Vec<f64>]) {
        for i in (0..self.n).step_by(2) {
            for j in (i..self.n).step_by(2) {
                let row = |k: usize| rows[k.min(self.n - 1)].as_slice();
                let four = products_of_four(row(i), row(i + 1), row(j), row(j + 1));
                for (k, product) in four.into_iter().enumerate() {
                    let (a, b) = (i + k / 2, j + k % 2);
                    if a <= b && b < self.n {
                        self.products[a * self.n + b] += product;
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

/// Returns `[a·c, a·d, b·c, b·d]`. Each element is loaded once for two products.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn products_of_four(a: &[f64], b: &[f64], c: &[f64], d: &[f64]) -> [f64; 4] {
    let mut sums = [[0.0f64; LANES]; 4];
    let eights = |x: &[f64]| x.as_chunks::<LANES>().0.len();
    let n = eights(a);
    let (a, b, c, d) = (chunks(a, n), chunks(b, n), chunks(c, n), chunks(d, n));
    for i in 0..n {
        for l in 0..LANES {
            sums[0][l] += a[i][l] * c[i][l];
            sums[1][l] += a[i][l] * d[i][l];
            sums[2][l] += b[i][l] * c[i][l];
            sums[3][l] += b[i][l] * d[i][l];
        }
    }
    sums.map(|lanes| ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7])))
}

/// Returns the first `n` chunks. The caller pads a block with zeros to whole chunks.
#[inline(always)]
fn chunks(x: &[f64], n: usize) -> &[[f64; LANES]] {
    &x.as_chunks::<LANES>().0[..n]
}

/// Returns the length to which a block of this many elements is padded with zeros.
pub(crate) fn padded(elements: usize) -> usize {
    elements.next_multiple_of(LANES)
}
