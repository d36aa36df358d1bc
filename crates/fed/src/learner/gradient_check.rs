//! Comparison of gradients with finite differences of the loss.

use ndarray::{Array1, Array2};

use super::{Batch, Network, Random};

/// Compares the gradient in every coordinate with the central difference (L(w + h) − L(w − h)) / 2h on a random batch.
///
/// h = 1/128 balances truncation (about h²/6 of the third derivative, 1e-5) and f32 rounding (about 1e-7 / h, 1e-5).
pub(super) fn check(network: &dyn Network, seed: u64, tolerance: f32) {
    const STEP: f32 = 1.0 / 128.0;
    let mut random = Random::new(seed);
    let elements = network.parameters().iter().map(super::Parameter::elements).sum();
    let mut weights: Array1<f32> = (0..elements).map(|_| 2.0 * random.unit() - 1.0).collect();
    let features = Array2::from_shape_simple_fn((6, network.inputs()), || 2.0 * random.unit() - 0.5);
    let labels: Vec<u32> = (0..6).map(|_| random.below(network.classes()) as u32).collect();
    let batch = Batch {
        features: features.view(),
        labels: &labels,
    };
    let mut gradient = Array1::zeros(elements);
    network.loss_and_gradient(weights.view(), &batch, gradient.view_mut());
    let norm = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
    assert!(norm > 0.1, "a flat loss would pass any check: {norm}");
    for at in 0..elements {
        let own = weights[at];
        let mut loss_at = |w: f32| {
            weights[at] = w;
            network.loss_and_gradient(weights.view(), &batch, Array1::zeros(elements).view_mut())
        };
        let slope = (loss_at(own + STEP) - loss_at(own - STEP)) / (2.0 * STEP);
        weights[at] = own;
        assert!(
            (gradient[at] - slope).abs() < tolerance,
            "parameter {at}: gradient {}, difference quotient {slope}",
            gradient[at]
        );
    }
}
