//! The span of the updates: vectors that are sums of updates, as their coefficients, with all their inner products.
//!
//! Krum, nearest-neighbour mixing, the geometric median and others need only the inner products of the updates, and their
//! results are sums of updates. They therefore work on matrices of n × n numbers, for a model of any size: one pass over
//! the updates computes the inner products, and a second one the sum.

use super::share::shares;

/// A vector in the span of the updates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vector {
    /// Coefficient of each update.
    pub coefficients: Vec<f64>,
    /// The vector's share of the round; all shares add up to 1.
    pub share: f64,
}

/// Some vectors in the span of a round's updates.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub vectors: Vec<Vector>,
    /// Inner products of the vectors, row by row. Empty if no rule needs them.
    products: Vec<f64>,
}

impl Span {
    /// Makes the span of the updates themselves. `products` are their inner products, row by row, or empty.
    pub fn of_updates(shares: &[f64], products: Vec<f64>) -> Self {
        let n = shares.len();
        let unit = |i: usize| {
            let mut coefficients = vec![0.0; n];
            coefficients[i] = 1.0;
            coefficients
        };
        let vectors = shares.iter().enumerate().map(|(i, share)| Vector {
            coefficients: unit(i),
            share: *share,
        });
        Self {
            vectors: vectors.collect(),
            products,
        }
    }

    /// Returns the number of vectors.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Returns the shares of the vectors.
    pub fn shares(&self) -> Vec<f64> {
        self.vectors.iter().map(|vector| vector.share).collect()
    }

    /// Returns the inner product of two vectors; 0 if the products are not known.
    pub fn product(&self, i: usize, j: usize) -> f64 {
        self.products.get(i * self.len() + j).copied().unwrap_or(0.0)
    }

    /// Returns the length of a vector: infinite if its square is beyond f64's range.
    pub fn norm(&self, i: usize) -> f64 {
        sane(self.product(i, i)).sqrt()
    }

    /// Returns the squared distance of two vectors.
    pub fn distance2(&self, i: usize, j: usize) -> f64 {
        if i == j {
            return 0.0;
        }
        sane(self.product(i, i) + self.product(j, j) - 2.0 * self.product(i, j))
    }

    /// Returns the squared distances of all vectors to `sum of point_i * vector_i`.
    pub fn distances2(&self, point: &[f64]) -> Vec<f64> {
        let dot = |i: usize| sum_of_products(point, |j| self.product(i, j));
        let dots: Vec<f64> = (0..self.len()).map(dot).collect();
        let square = sum_of_products(point, |i| dots[i]);
        (0..self.len())
            .map(|i| sane(self.product(i, i) - 2.0 * dots[i] + square))
            .collect()
    }

    /// Returns the span of these sums: each new vector is `sum of weights_i * vector_i`, with its share.
    pub fn mixed(&self, mixtures: &[(Vec<f64>, f64)]) -> Self {
        let n = self.vectors.first().map_or(0, |vector| vector.coefficients.len());
        let vectors = mixtures.iter().map(|(weights, share)| Vector {
            coefficients: (0..n)
                .map(|k| sum_of_products(weights, |i| self.vectors[i].coefficients[k]))
                .collect(),
            share: *share,
        });
        let mut products = vec![];
        if !self.products.is_empty() {
            // First the products of each mixture with each old vector, then those of the mixtures.
            let half: Vec<Vec<f64>> = mixtures
                .iter()
                .map(|(weights, _)| {
                    (0..self.len())
                        .map(|j| sum_of_products(weights, |i| self.product(i, j)))
                        .collect()
                })
                .collect();
            products = vec![0.0; mixtures.len() * mixtures.len()];
            for (i, row) in half.iter().enumerate() {
                for (k, (weights, _)) in mixtures.iter().enumerate().skip(i) {
                    // The same bits on both sides: rules compare distances, and equal ones must stay equal.
                    let product = sum_of_products(weights, |j| row[j]);
                    products[i * mixtures.len() + k] = product;
                    products[k * mixtures.len() + i] = product;
                }
            }
        }
        Self {
            vectors: vectors.collect(),
            products,
        }
    }

    /// Returns the coefficients of `sum of weights_i * vector_i` in the updates.
    pub fn sum(&self, weights: &[f64]) -> Vec<f64> {
        let n = self.vectors.first().map_or(0, |vector| vector.coefficients.len());
        (0..n)
            .map(|k| sum_of_products(weights, |i| self.vectors[i].coefficients[k]))
            .collect()
    }

    /// Returns the weights of the mean of these vectors by their shares: 0 for all others. If the chosen ones have no share,
    /// each counts the same.
    pub fn mean_of(&self, chosen: &[usize]) -> Vec<f64> {
        let given: Vec<f64> = chosen.iter().map(|i| self.vectors[*i].share).collect();
        let given = match given.iter().any(|share| *share > 0.0) {
            true => shares(&given, None),
            false => vec![1.0 / chosen.len() as f64; chosen.len()],
        };
        let mut weights = vec![0.0; self.len()];
        chosen.iter().zip(given).for_each(|(i, share)| weights[*i] = share);
        weights
    }
}

/// Sums `weight * value(i)` in the order of the indices. A value with the weight 0 is left out, although the value may be
/// infinite.
fn sum_of_products(weights: &[f64], value: impl Fn(usize) -> f64) -> f64 {
    let used = weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
    used.fold(0.0, |sum, (i, weight)| sum + weight * value(i))
}

/// Returns a square of a length as a number from 0 to infinity: rounding can make it slightly negative, and a difference of
/// infinities is no number at all.
fn sane(square: f64) -> f64 {
    if square.is_nan() {
        f64::INFINITY
    } else {
        square.max(0.0)
    }
}
