//! Rules that look for a centre of the vectors, step by step.

use super::preparation::{median, shortening};
use super::span::Span;

/// Lengths whose squares are far from both ends of f64: with others a liar could make its vector longer than it looks.
const LENGTHS: std::ops::RangeInclusive<f64> = 1e-100..=1e100;
/// The smoothing of the geometric median if the spec gives none, in units of the vectors' median length.
const NU_DEFAULT: f64 = 1e-6;

/// Returns the weights of the geometric median by the smoothed Weiszfeld algorithm (Pillutla et al. 2022, "Robust aggregation
/// for federated learning"): each step takes the mean with the weights `share / max(nu, distance)`. With a number `nu` it begins
/// at zero, which is the parent's weights, as in ByzFL. Otherwise `nu` is tiny, and it begins at the mean of the vectors clipped
/// to their median length: liars can send zeros, and a point that is on a vector hardly leaves it.
pub(super) fn geometric_median(span: &Span, nu: Option<f64>, iterations: usize) -> Vec<f64> {
    let shares = span.shares();
    let norms: Vec<f64> = (0..span.len()).map(|i| span.norm(i)).collect();
    let typical = median(&norms);
    let clipped = |(share, norm): (&f64, &f64)| share * shortening(*norm, typical);
    let mut point = match nu {
        Some(_) => vec![0.0; span.len()],
        None => shares.iter().zip(&norms).map(clipped).collect(),
    };
    let nu = nu.unwrap_or(NU_DEFAULT * typical).max(f64::MIN_POSITIVE);
    for _ in 0..iterations {
        let distances = span.distances2(&point);
        let pull: Vec<f64> = distances
            .iter()
            .zip(&shares)
            .map(|(d2, share)| share / d2.sqrt().max(nu))
            .collect();
        let total = pull.iter().fold(0.0, |sum, pull| sum + pull);
        if !(total > 0.0 && total.is_finite()) {
            return shares;
        }
        point = pull.into_iter().map(|pull| pull / total).collect();
    }
    point
}

/// Returns the weights of centred clipping and the factor by which each vector was shortened at last (Karimireddy et al.
/// 2021, "Learning from history for Byzantine robust optimization"). The centre begins at zero, which is the parent's
/// weights; each step adds the mean of the differences to it, none of them longer than the radius. Without a number the
/// radius is the median of the vectors' distances to the centre.
pub(super) fn centred_clipping(span: &Span, radius: Option<f64>, iterations: usize) -> (Vec<f64>, Vec<f64>) {
    let shares = span.shares();
    let mut point = vec![0.0; span.len()];
    let mut factors = vec![1.0; span.len()];
    for _ in 0..iterations {
        let distances: Vec<f64> = span.distances2(&point).into_iter().map(f64::sqrt).collect();
        let most = radius.unwrap_or_else(|| median(&distances));
        factors = distances.iter().map(|distance| shortening(*distance, most)).collect();
        // centre + sum of share_i factor_i (x_i - centre)
        let pulled = shares.iter().zip(&factors).map(|(share, factor)| share * factor);
        let kept = 1.0 - pulled.clone().fold(0.0, |sum, pull| sum + pull);
        point = point.iter().zip(pulled).map(|(at, pull)| at * kept + pull).collect();
    }
    (point, factors)
}

/// Returns the weights of FLTrust (Cao et al. 2021, "FLTrust: Byzantine-robust federated learning via trust bootstrapping")
/// and the factor that gives each vector the root's length. A vector counts by its cosine with the root, and not at all if
/// it points the other way, or if its length or the root's is outside of [`LENGTHS`].
pub(super) fn fltrust(span: &Span, root: usize) -> (Vec<f64>, Vec<f64>) {
    let length = span.norm(root);
    let mut trust = vec![0.0; span.len()];
    let mut factors = vec![0.0; span.len()];
    for i in 0..span.len() {
        let norm = span.norm(i);
        if LENGTHS.contains(&norm) && LENGTHS.contains(&length) {
            let cosine = (span.product(i, root) / norm / length).clamp(0.0, 1.0);
            trust[i] = if cosine.is_nan() {
                0.0
            } else {
                cosine * span.vectors[i].share
            };
            factors[i] = length / norm;
        }
    }
    let total = trust.iter().fold(0.0, |sum, trust| sum + trust);
    if total <= 0.0 {
        return (vec![0.0; span.len()], factors);
    }
    let weights = trust.iter().zip(&factors).map(|(trust, factor)| trust / total * factor);
    (weights.collect(), factors)
}

/// Returns the vector with the least sum of distances to the others: the one that stands most in the middle.
pub(super) fn medoid(span: &Span) -> usize {
    let sum = |i: usize| (0..span.len()).fold(0.0, |sum, j| sum + span.distance2(i, j).sqrt());
    (0..span.len()).min_by(|a, b| sum(*a).total_cmp(&sum(*b))).unwrap_or(0)
}
