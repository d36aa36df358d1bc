//! Softmax regression as a [`Network`].

use ndarray::{Array2, ArrayView1, ArrayViewMut1};

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

    fn scores(&self, weights: ArrayView1<'_, f32>, batch: &Batch<'_>) -> Array2<f32> {
        let (layer, _) = dense::split(weights, self.classes, self.inputs);
        layer.forward(batch.features)
    }

    fn loss_and_gradient(
        &self,
        weights: ArrayView1<'_, f32>,
        batch: &Batch<'_>,
        gradient: ArrayViewMut1<'_, f32>,
    ) -> f32 {
        let mut scores = self.scores(weights, batch);
        let loss = loss::cross_entropy(&mut scores, batch.labels);
        let (mut layer, _) = dense::split_mut(gradient, self.classes, self.inputs);
        layer.backward(batch.features, &scores);
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
