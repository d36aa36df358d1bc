//! A network with one hidden layer.

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
    fn apply(self, sums: &mut [f32]) {
        for x in sums {
            *x = match self {
                Self::Relu => x.max(0.0),
                Self::Tanh => x.tanh(),
            };
        }
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

/// The four tensors of the parameter vector.
struct Parts<T> {
    weight1: T,
    bias1: T,
    weight2: T,
    bias2: T,
}

impl Mlp {
    fn parts<'a>(&self, weights: &'a [f32]) -> Parts<&'a [f32]> {
        let (weight1, rest) = weights.split_at(self.hidden * self.inputs);
        let (bias1, rest) = rest.split_at(self.hidden);
        let (weight2, bias2) = rest.split_at(self.classes * self.hidden);
        Parts {
            weight1,
            bias1,
            weight2,
            bias2,
        }
    }

    fn parts_mut<'a>(&self, weights: &'a mut [f32]) -> Parts<&'a mut [f32]> {
        let (weight1, rest) = weights.split_at_mut(self.hidden * self.inputs);
        let (bias1, rest) = rest.split_at_mut(self.hidden);
        let (weight2, bias2) = rest.split_at_mut(self.classes * self.hidden);
        Parts {
            weight1,
            bias1,
            weight2,
            bias2,
        }
    }

    /// Writes the scores and returns the hidden layer's outputs.
    fn forward(&self, w: &Parts<&[f32]>, batch: &Batch<'_>, scores: &mut [f32]) -> Vec<f32> {
        let mut hidden = vec![0.0; batch.labels.len() * self.hidden];
        dense::forward(batch.features, w.weight1, w.bias1, &mut hidden);
        self.activation.apply(&mut hidden);
        dense::forward(&hidden, w.weight2, w.bias2, scores);
        hidden
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

    fn scores(&self, weights: &[f32], batch: &Batch<'_>, scores: &mut [f32]) {
        self.forward(&self.parts(weights), batch, scores);
    }

    fn loss_and_gradient(&self, weights: &[f32], batch: &Batch<'_>, gradient: &mut [f32]) -> f32 {
        let w = self.parts(weights);
        let mut upstream = vec![0.0; batch.labels.len() * self.classes];
        let hidden = self.forward(&w, batch, &mut upstream);
        let loss = loss::cross_entropy(&mut upstream, batch.labels);
        let g = self.parts_mut(gradient);
        dense::backward(&hidden, &upstream, g.weight2, g.bias2);
        let mut by_hidden = vec![0.0; hidden.len()];
        dense::backward_inputs(w.weight2, &upstream, self.classes, &mut by_hidden);
        for (d, &h) in by_hidden.iter_mut().zip(&hidden) {
            *d *= self.activation.slope(h);
        }
        dense::backward(batch.features, &by_hidden, g.weight1, g.bias1);
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
