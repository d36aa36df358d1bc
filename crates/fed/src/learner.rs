//! Built-in learners, with the proximal term of FedProx.
//!
//! A [`Network`] defines a model (its parameters, loss and gradient). A [`Learner`] holds the parameters as one vector and
//! changes them by stochastic gradient descent. There are three networks: [`Softmax`] regression, a small [`Mlp`] and
//! [`Spiking`], a layer of leaky integrate-and-fire neurons trained by surrogate gradient.
//!
//! Training is a function of parameters, data, [`TrainConfig`] and its seed, but it is not bit-identical across machines
//! (`exp` and `tanh` come from the platform). A trainer's result is therefore its own; nodes agree only on what is computed
//! from the submitted bytes.

mod dense;
mod examples;
mod loss;
mod mlp;
mod network;
mod random;
mod sgd;
mod softmax;
mod spiking;

#[cfg(test)]
mod gradient_check;

pub use examples::{Examples, ExamplesError};
pub use mlp::{Activation, Mlp};
pub use network::{Batch, Network, Parameter};
pub use random::Random;
pub use sgd::TrainConfig;
pub use softmax::Softmax;
pub use spiking::Spiking;

use ndarray::{Array1, ArrayD, Axis};

use crate::tensor::{Tensor, Tensors};

/// Rows that [`Learner::accuracy`] scores at once; bounds its memory for data of any size.
const SCORE_ROWS: usize = 256;

/// Reason why tensors or data do not fit a learner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LearnerError {
    /// A parameter of the network is not among the given tensors.
    #[error("tensor {name:?} is missing: the network needs it with shape {shape:?}")]
    Missing {
        /// The parameter's name.
        name: String,
        /// The shape it must have.
        shape: Vec<usize>,
    },
    /// A parameter was given with another shape, or with elements that are not f32.
    #[error("tensor {name:?} is {dtype} {got:?}, the network needs F32 {shape:?}")]
    Shape {
        /// The parameter's name.
        name: String,
        /// The shape it must have.
        shape: Vec<usize>,
        /// The shape that was given.
        got: Vec<usize>,
        /// The name of the element type that was given.
        dtype: &'static str,
    },
    /// The network does not know a tensor.
    #[error("tensor {name:?} is not one of the network's: it has {known:?}")]
    Unknown {
        /// Name of the unknown tensor.
        name: String,
        /// Names of the network's parameters.
        known: Vec<String>,
    },
    /// The data has another width or more classes than the network.
    #[error(
        "the data has {inputs} features and labels below {classes}, the network takes {network_inputs} features and \
         {network_classes} classes"
    )]
    Data {
        /// Number of features in a row of the data.
        inputs: usize,
        /// The data's greatest label plus one.
        classes: usize,
        /// Number of features that the network needs in a row.
        network_inputs: usize,
        /// Number of classes that the network tells apart.
        network_classes: usize,
    },
}

/// A network and its parameters.
pub struct Learner {
    network: Box<dyn Network>,
    layout: Vec<Parameter>,
    weights: Array1<f32>,
}

impl Learner {
    /// Makes a learner with freshly drawn parameters; the same seed gives the same parameters.
    ///
    /// Weights are uniform in ±√(6 / (fan in + fan out)) (Glorot & Bengio 2010, eq. 16), biases are 0.
    pub fn init(network: impl Network + 'static, seed: u64) -> Self {
        let layout = network.parameters();
        let mut random = Random::new(seed);
        let mut weights = Vec::with_capacity(layout.iter().map(Parameter::elements).sum());
        for parameter in &layout {
            let bound = match parameter.shape[..] {
                [out, into] => (6.0 / (out + into) as f32).sqrt(),
                _ => 0.0,
            };
            weights.extend((0..parameter.elements()).map(|_| bound * (2.0 * random.unit() - 1.0)));
        }
        Self {
            network: Box::new(network),
            layout,
            weights: weights.into(),
        }
    }

    /// Returns the parameters by name.
    pub fn tensors(&self) -> Tensors {
        let mut rest = self.weights.view();
        let mut tensors = Tensors::new();
        for parameter in &self.layout {
            let (own, after) = rest.split_at(Axis(0), parameter.elements());
            let array = ArrayD::from_shape_vec(&parameter.shape[..], own.to_vec());
            let array = array.expect("as many elements as the shape has");
            tensors.insert(parameter.name.to_owned(), Tensor::of(array));
            rest = after;
        }
        tensors
    }

    /// Replaces the parameters by the given ones. The tensors must be exactly the network's; else a [`LearnerError`] is returned and
    /// nothing changes.
    pub fn load(&mut self, tensors: &Tensors) -> Result<(), LearnerError> {
        self.weights = self.flatten(tensors)?;
        Ok(())
    }

    /// Runs `config.epochs` passes of mini-batch SGD and returns the mean cross-entropy of the last pass (0 without data).
    ///
    /// With `config.mu` > 0 the gradient of every step gains μ (w − w_t), where w_t is `reference`, the weights that the
    /// trainer fetched. This term keeps trainers with skewed data near each other (FedProx: Li et al. 2020, eq. 2).
    pub fn train(&mut self, data: &Examples, config: &TrainConfig, reference: &Tensors) -> Result<f32, LearnerError> {
        self.check(data)?;
        let reference = self.flatten(reference)?;
        Ok(sgd::descend(
            &*self.network,
            &mut self.weights,
            data,
            config,
            &reference,
        ))
    }

    /// Returns the share of rows whose greatest score is their label's, 0 to 1 (0 without data).
    pub fn accuracy(&self, data: &Examples) -> Result<f64, LearnerError> {
        self.check(data)?;
        let mut right = 0usize;
        for batch in data.chunks(SCORE_ROWS) {
            let scores = self.network.scores(self.weights.view(), &batch);
            let rows = scores.rows().into_iter().zip(batch.labels);
            right += rows
                .filter(|(row, label)| loss::greatest(*row) == **label as usize)
                .count();
        }
        Ok(right as f64 / data.len().max(1) as f64)
    }

    /// Returns the tensors as one vector in the network's order.
    fn flatten(&self, tensors: &Tensors) -> Result<Array1<f32>, LearnerError> {
        let mut flat = Vec::with_capacity(self.weights.len());
        for parameter in &self.layout {
            let (name, shape) = (parameter.name.to_owned(), parameter.shape.clone());
            let Some(tensor) = tensors.get(parameter.name) else {
                return Err(LearnerError::Missing { name, shape });
            };
            match tensor.array::<f32>() {
                Ok(array) if array.shape() == shape => flat.extend(array.iter()),
                _ => {
                    return Err(LearnerError::Shape {
                        name,
                        shape,
                        got: tensor.shape().to_vec(),
                        dtype: tensor.dtype().name(),
                    });
                }
            }
        }
        let known = || self.layout.iter().map(|parameter| parameter.name);
        match tensors.keys().find(|name| known().all(|known| known != *name)) {
            None => Ok(flat.into()),
            Some(name) => Err(LearnerError::Unknown {
                name: name.clone(),
                known: known().map(str::to_owned).collect(),
            }),
        }
    }

    fn check(&self, data: &Examples) -> Result<(), LearnerError> {
        let (inputs, classes) = (self.network.inputs(), self.network.classes());
        if data.inputs() == inputs && data.classes() <= classes {
            return Ok(());
        }
        Err(LearnerError::Data {
            inputs: data.inputs(),
            classes: data.classes(),
            network_inputs: inputs,
            network_classes: classes,
        })
    }
}

#[cfg(test)]
mod tests;
