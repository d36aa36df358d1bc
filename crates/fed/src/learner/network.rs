//! What can be learned: parameters, scores, loss and gradient.

/// One tensor of a network's parameters: its name and row-major shape. Matrices are `[outputs, inputs]`, as PyTorch's are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Unique within the network.
    pub name: &'static str,
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
}

impl Parameter {
    pub(super) fn new(name: &'static str, shape: &[usize]) -> Self {
        let shape = shape.to_vec();
        Self { name, shape }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn shape_u64(&self) -> Vec<u64> {
        self.shape.iter().map(|&d| d as u64).collect()
    }
}

/// Some rows of data: `features` holds one row of the network's inputs for each label.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Row-major, `labels.len()` rows.
    pub features: &'a [f32],
    /// Each below the network's classes.
    pub labels: &'a [u32],
}

/// A classifier as a function of a flat parameter vector (the parameters in order, one after the other).
pub trait Network: Send + Sync {
    /// The tensors that make up the vector.
    fn parameters(&self) -> Vec<Parameter>;
    /// Features a row has.
    fn inputs(&self) -> usize;
    /// Classes told apart.
    fn classes(&self) -> usize;
    /// Writes one row of class scores (before softmax) for each row of the batch.
    fn scores(&self, weights: &[f32], batch: &Batch<'_>, scores: &mut [f32]);
    /// The batch's mean cross-entropy; **adds** its gradient to `gradient`, which is as long as `weights`.
    fn loss_and_gradient(&self, weights: &[f32], batch: &Batch<'_>, gradient: &mut [f32]) -> f32;
}
