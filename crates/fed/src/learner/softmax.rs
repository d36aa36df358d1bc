//! Softmax regression as a [`Network`].

use super::{Batch, Network, Parameter, dense, loss};

/// Softmax (multinomial logistic) regression: scores = W x + b.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax {
    /// Number of features in a row, at least 1.
    pub inputs: usize,
    /// Number of classes, at least 1.
    pub classes: usize,
}

impl Network for Softmax {
    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::new("fc.weight", &[self.classes, self.inputs]),
            Parameter::new("fc.bias", &[self.classes]),
        ]
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn scores(&self, weights: &[f32], batch: &Batch<'_>, scores: &mut [f32]) {
        let (weight, bias) = weights.split_at(self.classes * self.inputs);
        dense::forward(batch.features, weight, bias, scores);
    }

    fn loss_and_gradient(&self, weights: &[f32], batch: &Batch<'_>, gradient: &mut [f32]) -> f32 {
        let mut scores = vec![0.0; batch.labels.len() * self.classes];
        self.scores(weights, batch, &mut scores);
        let loss = loss::cross_entropy(&mut scores, batch.labels);
        let (weight, bias) = gradient.split_at_mut(self.classes * self.inputs);
        dense::backward(batch.features, &scores, weight, bias);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradient_check::check;
    use super::*;

    #[test]
    fn the_gradient_is_the_loss_s_slope() {
        check(&Softmax { inputs: 5, classes: 3 }, 11, 1e-3);
    }
}
