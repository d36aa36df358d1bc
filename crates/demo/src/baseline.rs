//! The baseline for the federated model: the same learner without a federation.

use qres_fed::learner::{Examples, TrainConfig};

use crate::args::Kind;
use crate::model::numbers;

/// Trains a learner on `rows` alone, with as many local epochs a round as the federation's trainers run, and without
/// FedProx's proximal term (μ = 0). Returns the held-out accuracy, 0 to 1, before the first round and after each.
pub fn train(kind: Kind, rows: &Examples, held_out: &Examples, rounds: u64, seed: u64) -> anyhow::Result<Vec<f64>> {
    let mut learner = kind.learner(seed);
    let mut curve = vec![learner.accuracy(held_out)?];
    for round in 0..rounds {
        let config = TrainConfig {
            mu: 0.0,
            seed: round,
            ..TrainConfig::default().told(&numbers())
        };
        let reference = learner.tensors();
        learner.train(rows, &config, &reference)?;
        curve.push(learner.accuracy(held_out)?);
    }
    Ok(curve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digits, split};

    /// Returns the held-out accuracy of the central model after 20 rounds of 5 epochs. For comparison: scikit-learn's
    /// LogisticRegression reaches 0.95 to 0.97 on such splits.
    fn central(kind: Kind) -> f64 {
        let digits = digits::load(1).unwrap();
        *train(kind, &digits.train, &digits.held_out, 20, 1)
            .unwrap()
            .last()
            .unwrap()
    }

    #[test]
    fn softmax_regression_learns_the_digits() {
        let reached = central(Kind::Softmax);
        assert!(reached > 0.93, "{reached}");
    }

    #[test]
    fn the_perceptron_learns_the_digits() {
        let reached = central(Kind::Mlp);
        assert!(reached > 0.95, "{reached}");
    }

    #[test]
    fn the_spiking_network_learns_the_digits() {
        let reached = central(Kind::Snn);
        assert!(reached > 0.95, "{reached}");
    }

    /// A trainer can't know digits that it has never seen: 4 of 10 is the most that one of three can reach.
    #[test]
    fn no_trainer_alone_does_well() {
        let digits = digits::load(1).unwrap();
        for part in split::deal(&digits.train, 3, 1) {
            let curve = train(Kind::Mlp, &part.rows, &digits.held_out, 5, 1).unwrap();
            assert!(
                curve[4] <= part.digits.len() as f64 / 10.0 && curve[4] > 0.25,
                "{curve:?}"
            );
        }
    }
}
