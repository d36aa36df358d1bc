//! The interface of a network: parameters, scores, loss and gradient.

use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1};

/// A tensor of a network's parameters: its name and row-major shape. Matrices are `[outputs, inputs]`, as in PyTorch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The parameter's name, unique within the network.
    pub name: &'static str,
    /// Sizes of the dimensions, row-major.
    pub shape: Vec<usize>,
}

impl Parameter {
    pub(super) fn new(name: &'static str, shape: &[usize]) -> Self {
        let shape = shape.to_vec();
        Self { name, shape }
    }

    /// Returns the number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A batch of rows, one for each label.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The features, a row of the network's inputs for each label.
    pub features: ArrayView2<'a, f32>,
    /// The labels, each below the network's number of classes.
    pub labels: &'a [u32],
}

/// A classifier as a function of a parameter vector (all [`Parameter`]s in order, one after the other, contiguous).
pub trait Network: Send + Sync {
    /// Returns the tensors that make up the parameter vector, in order.
    fn parameters(&self) -> Vec<Parameter>;
    /// Returns the number of features in a row.
    fn inputs(&self) -> usize;
    /// Returns the number of classes.
    fn classes(&self) -> usize;
    /// Returns one row of class scores (before softmax) for each row of the [`Batch`].
    fn scores(&self, weights: ArrayView1<'_, f32>, batch: &Batch<'_>) -> Array2<f32>;
    /// Returns the batch's mean cross-entropy and **adds** its gradient to `gradient`, which is as long as `weights`.
    fn loss_and_gradient(
        &self,
        weights: ArrayView1<'_, f32>,
        batch: &Batch<'_>,
        gradient: ArrayViewMut1<'_, f32>,
    ) -> f32;
}
