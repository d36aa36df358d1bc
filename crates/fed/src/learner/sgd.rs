//! Mini-batch stochastic gradient descent with the proximal term.

use std::collections::BTreeMap;

use ndarray::{Array1, Zip};

use super::{Examples, Network, Random};

/// Settings of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainConfig {
    /// Number of passes over the data.
    pub epochs: u32,
    /// Number of rows in a step; 0 counts as 1.
    pub batch: usize,
    /// Step length η of the descent.
    pub learning_rate: f32,
    /// Share of the last step that is added to the next; 0 is plain SGD (v ← m v + g, w ← w − η v).
    pub momentum: f32,
    /// FedProx's μ, the strength of the pull towards the reference weights; 0 is none.
    pub mu: f32,
    /// Seed of the rows' order: the same seed gives the same order. Use another seed in each round.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        // FedProx's own protocol is batch 10 and plain SGD (Li et al. 2020, §5.1); the other values suit inputs scaled to
        // [0, 1].
        Self {
            epochs: 1,
            batch: 10,
            learning_rate: 0.1,
            momentum: 0.0,
            mu: 0.0,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// Returns these settings with the numbers that a strategy gives its trainers (`mu`, `learning_rate`, `local_epochs`,
    /// `batch_size`) in place of its own; other names are ignored.
    #[must_use]
    pub fn told(mut self, numbers: &BTreeMap<String, f64>) -> Self {
        for (name, &number) in numbers {
            match name.as_str() {
                "mu" => self.mu = number as f32,
                "learning_rate" => self.learning_rate = number as f32,
                // `as` saturates: a number out of range becomes the nearest bound and never causes a panic.
                "local_epochs" => self.epochs = number as u32,
                "batch_size" => self.batch = number as usize,
                _ => {}
            }
        }
        self
    }
}

/// Trains `weights` in place by the settings of a [`TrainConfig`] and returns the last pass's mean loss, without the
/// proximal term. That term μ/2 ‖w − w_t‖² is added to the loss, with w_t = `reference` (Li et al. 2020, eq. 2).
pub(super) fn descend(
    network: &dyn Network,
    weights: &mut Array1<f32>,
    data: &Examples,
    config: &TrainConfig,
    reference: &Array1<f32>,
) -> f32 {
    let mut random = Random::new(config.seed);
    let mut gradient = Array1::zeros(weights.len());
    let mut velocity = Array1::<f32>::zeros(weights.len());
    let mut loss = 0.0;
    for _ in 0..config.epochs {
        loss = 0.0;
        data.shuffled(config.batch.max(1), &mut random, |batch| {
            gradient.fill(0.0);
            let share = batch.labels.len() as f32 / data.len() as f32;
            loss += share * network.loss_and_gradient(weights.view(), batch, gradient.view_mut());
            Zip::from(&mut *weights)
                .and(&mut velocity)
                .and(&gradient)
                .and(reference)
                .for_each(|w, v, g, r| {
                    *v = config.momentum * *v + (g + config.mu * (*w - r));
                    *w -= config.learning_rate * *v;
                });
        });
    }
    loss
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::Softmax;
    use super::*;

    fn one_row() -> Examples {
        Examples::new(array![[1.0]], vec![0]).unwrap()
    }

    /// Takes one step from w on one row (x = 1, label 0, two classes) and compares it with softmax's gradient, computed by
    /// hand, plus μ (w − w_t).
    #[test]
    fn one_step_worked_by_hand() {
        let network = Softmax { inputs: 1, classes: 2 };
        let mut weights = Array1::zeros(4);
        let config = TrainConfig {
            learning_rate: 0.5,
            mu: 0.1,
            ..TrainConfig::default()
        };
        let loss = descend(
            &network,
            &mut weights,
            &one_row(),
            &config,
            &array![1.0, 0.0, 0.0, -2.0],
        );
        assert!((loss - 2f32.ln()).abs() < 1e-6);
        // Cross-entropy's gradient is (−½, ½, −½, ½); the proximal one 0.1 × (−1, 0, 0, 2).
        let expected = [0.3, -0.25, 0.25, -0.35];
        for (w, e) in weights.iter().zip(expected) {
            assert!((w - e).abs() < 1e-6, "{weights:?}");
        }
    }

    #[test]
    fn a_strategy_s_numbers_replace_the_settings() {
        let numbers = [("mu", 0.25), ("batch_size", 32.0), ("local_epochs", -1.0), ("x", 9.0)];
        let told = TrainConfig::default().told(&numbers.map(|(name, x)| (name.to_owned(), x)).into());
        let expected = TrainConfig {
            mu: 0.25,
            batch: 32,
            epochs: 0,
            ..TrainConfig::default()
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn momentum_adds_the_last_step() {
        let network = Softmax { inputs: 1, classes: 2 };
        let step = |epochs, momentum| {
            let mut weights = Array1::zeros(4);
            let config = TrainConfig {
                epochs,
                momentum,
                ..TrainConfig::default()
            };
            descend(&network, &mut weights, &one_row(), &config, &Array1::zeros(4));
            weights[0]
        };
        let (first, plain, heavy) = (step(1, 0.0), step(2, 0.0), step(2, 0.5));
        assert!((heavy - (plain + 0.5 * first)).abs() < 1e-6);
    }

    #[test]
    fn a_stronger_pull_stays_nearer() {
        let network = Softmax { inputs: 1, classes: 2 };
        let distance = |mu| {
            let mut weights = Array1::zeros(4);
            let config = TrainConfig {
                epochs: 200,
                mu,
                ..TrainConfig::default()
            };
            descend(&network, &mut weights, &one_row(), &config, &Array1::zeros(4));
            weights.iter().map(|w| w * w).sum::<f32>()
        };
        assert!(distance(1.0) < distance(0.1) && distance(0.1) < distance(0.0));
    }
}
