//! A network with one hidden layer.

use ndarray::{Array2, ArrayView1, ArrayViewMut1};

use super::dense::Layer;
use super::{Batch, Network, Parameter, dense, loss};

/// Function that the hidden layer applies to its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Rectified linear unit: max(0, x).
    Relu,
    /// Hyperbolic tangent: tanh(x).
    Tanh,
}

impl Activation {
    fn apply(self, sums: &mut Array2<f32>) {
        sums.mapv_inplace(|x| match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
        });
    }

    /// Returns the slope of the activation, computed from its output.
    fn slope(self, output: f32) -> f32 {
        match self {
            Self::Relu => f32::from(u8::from(output > 0.0)),
            Self::Tanh => 1.0 - output * output,
        }
    }
}

/// A multi-layer perceptron with one hidden layer: scores = W₂ f(W₁ x + b₁) + b₂.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mlp {
    /// Number of features in a row, at least 1.
    pub inputs: usize,
    /// Number of hidden units, at least 1.
    pub hidden: usize,
    /// Number of classes, at least 1.
    pub classes: usize,
    /// The hidden layer's function f, an [`Activation`].
    pub activation: Activation,
}

impl Mlp {
    /// Splits a parameter vector into the hidden layer and the layer of the scores.
    fn layers<'a>(&self, weights: ArrayView1<'a, f32>) -> (Layer<'a>, Layer<'a>) {
        let (hidden, rest) = dense::split(weights, self.hidden, self.inputs);
        (hidden, dense::split(rest, self.classes, self.hidden).0)
    }

    /// Returns the hidden layer's outputs and the scores.
    fn forward(&self, (hidden, last): (Layer<'_>, Layer<'_>), batch: &Batch<'_>) -> (Array2<f32>, Array2<f32>) {
        let mut outputs = hidden.forward(batch.features);
        self.activation.apply(&mut outputs);
        let scores = last.forward(outputs.view());
        (outputs, scores)
    }
}

impl Network for Mlp {
    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::new("fc1.weight", &[self.hidden, self.inputs]),
            Parameter::new("fc1.bias", &[self.hidden]),
            Parameter::new("fc2.weight", &[self.classes, self.hidden]),
            Parameter::new("fc2.bias", &[self.classes]),
        ]
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn scores(&self, weights: ArrayView1<'_, f32>, batch: &Batch<'_>) -> Array2<f32> {
        self.forward(self.layers(weights), batch).1
    }

    fn loss_and_gradient(
        &self,
        weights: ArrayView1<'_, f32>,
        batch: &Batch<'_>,
        gradient: ArrayViewMut1<'_, f32>,
    ) -> f32 {
        let layers = self.layers(weights);
        let (outputs, mut upstream) = self.forward(layers, batch);
        let loss = loss::cross_entropy(&mut upstream, batch.labels);
        let (mut hidden, rest) = dense::split_mut(gradient, self.hidden, self.inputs);
        let (mut last, _) = dense::split_mut(rest, self.classes, self.hidden);
        last.backward(outputs.view(), &upstream);
        let mut by_hidden = layers.1.backward_inputs(&upstream);
        by_hidden.zip_mut_with(&outputs, |d, h| *d *= self.activation.slope(*h));
        hidden.backward(batch.features, &by_hidden);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::check;
    use super::*;

    fn network(activation: Activation) -> Mlp {
        Mlp {
            inputs: 5,
            hidden: 7,
            classes: 3,
            activation,
        }
    }

    #[test]
    fn tanh_s_gradient_is_the_loss_s_slope() {
        check(&network(Activation::Tanh), 12, 1e-3);
    }

    /// The seed is chosen so that no hidden sum lies within the difference step of ReLU's kink.
    #[test]
    fn relu_s_gradient_is_the_loss_s_slope() {
        check(&network(Activation::Relu), 13, 1e-3);
    }
}
