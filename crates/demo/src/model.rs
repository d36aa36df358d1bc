//! The model that the demo trains: its name, its network and the numbers that its trainers get.

use std::collections::BTreeMap;

use qres_fed::learner::{Activation, Learner, Mlp, Softmax, Spiking};

use crate::args::Kind;
use crate::digits::{CLASSES, PIXELS};

/// Strategy by which the model's updates become a checkpoint.
pub const STRATEGY: &str = "fedprox/1";

/// The numbers that FedProx's trainers get with every checkpoint.
///
/// In a grid over three splits (μ 0, 0.01, 0.03, 0.1, 1; learning rate 0.05 to 0.3; 1 to 20 epochs) these numbers reach the
/// best accuracy after 20 rounds, 0.92 to 0.94 with the perceptron. With μ = 1 the trainers stay too near to the checkpoint
/// (0.75 to 0.90).
const NUMBERS: [(&str, f64); 4] = [
    ("mu", 0.01),
    ("learning_rate", 0.2),
    ("local_epochs", 5.0),
    ("batch_size", 10.0),
];

/// Returns the parameters of the strategy, which the trainers get, too.
pub fn numbers() -> BTreeMap<String, f64> {
    NUMBERS.map(|(name, number)| (name.to_owned(), number)).into()
}

impl Kind {
    /// Returns the name of the model with this learner.
    pub fn model(self) -> &'static str {
        match self {
            Self::Softmax => "digits-softmax",
            Self::Mlp => "digits-mlp",
            Self::Snn => "digits-snn",
        }
    }

    /// Makes a [`Learner`] whose first weights are drawn by the seed.
    pub fn learner(self, seed: u64) -> Learner {
        let (inputs, classes) = (PIXELS, CLASSES);
        match self {
            Self::Softmax => Learner::init(Softmax { inputs, classes }, seed),
            Self::Mlp => {
                let (hidden, activation) = (32, Activation::Relu);
                let network = Mlp {
                    inputs,
                    hidden,
                    classes,
                    activation,
                };
                Learner::init(network, seed)
            }
            Self::Snn => {
                let (hidden, steps) = (64, 16);
                let network = Spiking {
                    inputs,
                    hidden,
                    classes,
                    steps,
                };
                Learner::init(network, seed)
            }
        }
    }
}
