//! The model that the demo trains: its name, its network and the numbers that its trainers are told.

use std::collections::BTreeMap;

use qres_fed::learner::{Activation, Learner, Mlp, Softmax, Spiking};

use crate::args::Kind;
use crate::digits::{CLASSES, PIXELS};

/// How the model's updates become a checkpoint.
pub const STRATEGY: &str = "fedprox/1";

/// What FedProx's trainers are told with every checkpoint.
///
/// Of a grid over three splits (μ 0, 0.01, 0.03, 0.1, 1; learning rate 0.05 to 0.3; 1 to 20 epochs) these reach the best
/// accuracy after 20 rounds, 0.92 to 0.94 with the perceptron; μ = 1 holds the trainers too tight (0.75 to 0.90).
const NUMBERS: [(&str, f64); 4] = [
    ("mu", 0.01),
    ("learning_rate", 0.2),
    ("local_epochs", 5.0),
    ("batch_size", 10.0),
];

/// What the strategy's rule says, and its trainers are told.
pub fn numbers() -> BTreeMap<String, f64> {
    NUMBERS.map(|(name, number)| (name.to_owned(), number)).into()
}

impl Kind {
    /// The model's name.
    pub fn model(self) -> &'static str {
        match self {
            Self::Softmax => "digits-softmax",
            Self::Mlp => "digits-mlp",
            Self::Snn => "digits-snn",
        }
    }

    /// A learner with first weights drawn by the seed.
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
