//! q-FedAvg: members with a high loss count more.

use super::plan::{Plan, Planned};
use super::span::Span;
use super::verdict::Rejection;
use crate::strategy::Fairness;

/// Least loss that is reckoned with: `F^(q-1)` of a loss of 0 would have no bounds.
const LOSS_MIN: f64 = 1e-10;

/// Plans a round of q-FedAvg (Li et al. 2020, "Fair resource allocation in federated learning", algorithm 2). With the update u,
/// the loss F and the share p of each member the result is the sum of the updates with the coefficients
///
/// ```text
/// p F^q / sum over the members of p (F^q + q L F^(q-1) |u|^2)
/// ```
///
/// The paper draws its members with the probabilities p; here all of them are there. An update whose length is beyond f64 has
/// no part.
pub(crate) fn fair(fairness: Fairness, shares: &[f64], products: Vec<f64>, losses: &[f64]) -> Planned {
    let Fairness { q, lipschitz } = fairness;
    let updates = Span::of_updates(shares, products);
    let norms: Vec<f64> = (0..shares.len()).map(|i| updates.norm(i)).collect();
    let counts = |i: usize| norms[i].is_finite() && shares[i] > 0.0;
    // Numerators and denominator are divided by the largest loss to the power q: no power is beyond f64.
    let largest = losses.iter().copied().fold(LOSS_MIN, f64::max);
    let power = |i: usize, exponent: f64| libm::pow(losses[i].max(LOSS_MIN) / largest, exponent);
    let weights: Vec<f64> = (0..shares.len())
        .map(|i| if counts(i) { shares[i] * power(i, q) } else { 0.0 })
        .collect();
    let steepness = |i: usize| match counts(i) {
        true => shares[i] * q * lipschitz / largest * power(i, q - 1.0) * norms[i] * norms[i],
        false => 0.0,
    };
    let total = (0..shares.len()).fold(0.0, |sum, i| sum + weights[i] + steepness(i));
    let coefficients: Vec<f64> = weights
        .iter()
        .map(|weight| {
            if total > 0.0 && total.is_finite() {
                weight / total
            } else {
                0.0
            }
        })
        .collect();
    let reason = |i: usize| match () {
        () if coefficients[i] > 0.0 => None,
        () if shares[i] == 0.0 => Some(Rejection::NoSamples),
        () => Some(Rejection::TooLong),
    };
    Planned {
        rejected: (0..shares.len()).map(reason).collect(),
        distances2: Some(updates.distances2(&coefficients)),
        plan: Plan::Sum(coefficients),
        clipped: vec![1.0; shares.len()],
    }
}
