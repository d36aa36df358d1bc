//! Rules that change the updates before they are combined.

use super::rule::Preparation;
use super::span::Span;
use crate::learner::Random;

/// Applies a rule to the vectors. `clipped` has a factor for each update and is multiplied with what clipping does to it.
pub(super) fn prepare(rule: Preparation, span: &Span, seed: &[u8; 32], clipped: &mut [f64]) -> Span {
    match rule {
        Preparation::Clip { norm } => {
            let norms: Vec<f64> = (0..span.len()).map(|i| span.norm(i)).collect();
            let most = norm.unwrap_or_else(|| median(&norms));
            clip(span, &norms, most, clipped)
        }
        Preparation::Arc { f } => {
            let norms: Vec<f64> = (0..span.len()).map(|i| span.norm(i)).collect();
            clip(span, &norms, arc_limit(&norms, f), clipped)
        }
        Preparation::Bucketing { size } => bucketing(span, size, seed),
        Preparation::Nnm { f } => nnm(span, f),
    }
}

/// Returns the middle number, or the lower one of the two in the middle.
pub(super) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Returns the length to which ARC clips (Allouah et al. 2025, "Adaptive gradient clipping for robust federated learning"):
/// of the n updates, the floor(2 f (n − f) / n) longest ones are clipped to the length of the longest of the others.
fn arc_limit(norms: &[f64], f: usize) -> f64 {
    let n = norms.len();
    let longest = 2 * f * n.saturating_sub(f) / n.max(1);
    let mut sorted = norms.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get((n - longest.min(n)).saturating_sub(1))
        .copied()
        .unwrap_or(0.0)
}

/// Shortens every vector that is longer than `most` to that length.
fn clip(span: &Span, norms: &[f64], most: f64, clipped: &mut [f64]) -> Span {
    let mixtures: Vec<_> = norms
        .iter()
        .enumerate()
        .map(|(i, norm)| {
            let factor = shortening(*norm, most);
            for (clipped, coefficient) in clipped.iter_mut().zip(&span.vectors[i].coefficients) {
                if *coefficient != 0.0 {
                    *clipped *= factor;
                }
            }
            let mut weights = vec![0.0; span.len()];
            weights[i] = factor;
            (weights, span.vectors[i].share)
        })
        .collect();
    span.mixed(&mixtures)
}

/// Returns the factor that makes a vector of this length as long as `most`, or 1 if it is not longer. A vector whose length
/// is beyond f64's range becomes zero.
pub(super) fn shortening(norm: f64, most: f64) -> f64 {
    if norm <= most { 1.0 } else { most / norm }
}

/// Mixes each vector with its nearest neighbours (Allouah et al. 2023, "Fixing by mixing: a recipe for optimal Byzantine ML
/// under heterogeneity"): it becomes the mean, by shares, of itself and the n − f − 1 vectors next to it.
fn nnm(span: &Span, f: usize) -> Span {
    let keep = span.len().saturating_sub(f).max(1);
    let mixtures: Vec<_> = (0..span.len())
        .map(|i| {
            let mut near: Vec<usize> = (0..span.len()).collect();
            // A vector is the nearest to itself, even if another one has the same distance 0.
            near.sort_by(|a, b| {
                let key = |j: usize| (span.distance2(i, j), j != i, j);
                let ((x, own, p), (y, other, q)) = (key(*a), key(*b));
                x.total_cmp(&y).then(own.cmp(&other)).then(p.cmp(&q))
            });
            near.truncate(keep);
            near.sort_unstable();
            (span.mean_of(&near), span.vectors[i].share)
        })
        .collect();
    span.mixed(&mixtures)
}

/// Replaces the vectors by means of `size` of them (Karimireddy et al. 2022, "Byzantine-robust learning on heterogeneous
/// datasets via bucketing"). The seed draws which vectors share a bucket.
fn bucketing(span: &Span, size: usize, seed: &[u8; 32]) -> Span {
    let mut order: Vec<usize> = (0..span.len()).collect();
    let (words, _) = seed.as_chunks::<8>();
    let seed = words
        .iter()
        .fold(0, |mixed: u64, word| mixed ^ u64::from_le_bytes(*word));
    Random::new(seed).shuffle(&mut order);
    let mixtures: Vec<_> = order
        .chunks(size.max(1))
        .map(|bucket| {
            let share = bucket.iter().fold(0.0, |sum, i| sum + span.vectors[*i].share);
            (span.mean_of(bucket), share)
        })
        .collect();
    span.mixed(&mixtures)
}
