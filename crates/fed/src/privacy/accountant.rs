//! The accountant: the ε of several releases, by way of Rényi differential privacy.

use std::sync::LazyLock;

/// An order α of the Rényi divergence, and what the conversion to ε adds for it: ln(1 − 1/α) − ln α / (α − 1).
struct Order {
    alpha: f64,
    added: f64,
}

/// The orders that are tried: those of Google's `dp-accounting`. The best one is taken. A list of rounds shows the ε of thousands of
/// contributions, so the logarithms are computed once.
static ORDERS: LazyLock<Vec<Order>> = LazyLock::new(|| {
    let fine = (1..100).map(|tenth| 1.0 + f64::from(tenth) / 10.0);
    let all = fine.chain((11..64).map(f64::from)).chain([128.0, 256.0, 512.0, 1024.0]);
    let order = |alpha: f64| Order {
        alpha,
        added: libm::log1p(-1.0 / alpha) - libm::log(alpha) / (alpha - 1.0),
    };
    all.map(order).collect()
});

/// Returns the ε of this many releases with Gaussian noise of standard deviation `noise_multiplier` times the greatest
/// length, for this δ; 0 without a release, and infinite where no order gives a bound.
///
/// One release has the Rényi divergence α / (2 z²) of order α for the noise multiplier z, and divergences of releases add up
/// (Mironov 2017, "Rényi differential privacy", propositions 7 and 1). The conversion to ε is that of Canonne, Kamath & Steinke 2020,
/// "The discrete Gaussian for differential privacy", proposition 12. There is no amplification by sampling: which
/// members take part in a round is no secret.
pub fn epsilon(noise_multiplier: f64, releases: u64, delta: f64) -> f64 {
    if releases == 0 {
        return 0.0;
    }
    let all = releases as f64 / (2.0 * noise_multiplier * noise_multiplier);
    let log_delta = libm::log(delta);
    let of_order = |Order { alpha, added }: &Order| alpha * all + added - log_delta / (alpha - 1.0);
    ORDERS.iter().map(of_order).fold(f64::INFINITY, f64::min).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figure is that of Google's `dp-accounting` with its Rényi accountant.
    #[test]
    fn a_hundred_releases_cost_what_dp_accounting_says() {
        assert!(
            (epsilon(10.0, 100, 1e-5) - 4.7285).abs() < 5e-5,
            "{}",
            epsilon(10.0, 100, 1e-5)
        );
    }

    #[test]
    fn more_releases_less_noise_and_a_smaller_delta_cost_more() {
        assert_eq!(epsilon(1.0, 0, 1e-5), 0.0);
        assert!(epsilon(1.0, 2, 1e-5) > epsilon(1.0, 1, 1e-5));
        assert!(epsilon(1.0, 1, 1e-5) > epsilon(2.0, 1, 1e-5));
        assert!(epsilon(1.0, 1, 1e-6) > epsilon(1.0, 1, 1e-5));
        assert!(epsilon(1e6, 1, 0.1) >= 0.0);
        assert!(epsilon(1e-6, 1 << 40, 1e-300).is_finite());
    }

    /// One release: the exact ε of the Gaussian mechanism (Balle & Wang 2018, theorem 8) is below the accountant's, and not
    /// far below.
    #[test]
    fn the_bound_is_above_the_exact_figure() {
        let cdf = |x: f64| libm::erfc(-x / std::f64::consts::SQRT_2) / 2.0;
        for z in [0.5, 1.0, 4.0] {
            let delta = |epsilon: f64| cdf(0.5 / z - epsilon * z) - epsilon.exp() * cdf(-0.5 / z - epsilon * z);
            let bound = epsilon(z, 1, 1e-5);
            assert!(
                delta(bound) <= 1e-5,
                "z = {z}: delta {} at epsilon {bound}",
                delta(bound)
            );
            assert!(delta(0.75 * bound) > 1e-5, "z = {z}: the bound is loose");
        }
    }
}
