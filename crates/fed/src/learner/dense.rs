//! The affine layer: y = W x + b and its gradients, for a batch of rows, by `ndarray`'s matrix product.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

/// Parameters of a layer: the weight of shape `[outputs, inputs]`, and the bias of shape `[outputs]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    pub weight: ArrayView2<'a, f32>,
    pub bias: ArrayView1<'a, f32>,
}

impl Layer<'_> {
    /// Returns `rows · weightᵀ + bias`.
    pub fn forward(&self, rows: ArrayView2<'_, f32>) -> Array2<f32> {
        rows.dot(&self.weight.t()) + self.bias
    }

    /// Returns the gradient of the loss by the layer's inputs. `upstream` is the gradient by the layer's outputs.
    pub fn backward_inputs(&self, upstream: &Array2<f32>) -> Array2<f32> {
        upstream.dot(&self.weight)
    }
}

/// Gradients of a layer's parameters.
#[derive(Debug)]
pub(super) struct LayerMut<'a> {
    pub weight: ArrayViewMut2<'a, f32>,
    pub bias: ArrayViewMut1<'a, f32>,
}

impl LayerMut<'_> {
    /// Adds the gradients that these rows and the gradient by the layer's outputs give.
    pub fn backward(&mut self, rows: ArrayView2<'_, f32>, upstream: &Array2<f32>) {
        general_mat_mul(1.0, &upstream.t(), &rows, 1.0, &mut self.weight);
        self.bias += &upstream.sum_axis(Axis(0));
    }
}

/// Splits a parameter vector into the layer at its start, with these numbers of outputs and inputs, and the rest.
pub(super) fn split(weights: ArrayView1<'_, f32>, outputs: usize, inputs: usize) -> (Layer<'_>, ArrayView1<'_, f32>) {
    let (weight, rest) = weights.split_at(Axis(0), outputs * inputs);
    let (bias, rest) = rest.split_at(Axis(0), outputs);
    let weight = weight.into_shape_with_order((outputs, inputs));
    let weight = weight.expect("a part of a contiguous vector has any shape of its length");
    (Layer { weight, bias }, rest)
}

/// Splits a gradient like [`split`].
pub(super) fn split_mut(
    gradient: ArrayViewMut1<'_, f32>,
    outputs: usize,
    inputs: usize,
) -> (LayerMut<'_>, ArrayViewMut1<'_, f32>) {
    let (weight, rest) = gradient.split_at(Axis(0), outputs * inputs);
    let (bias, rest) = rest.split_at(Axis(0), outputs);
    let weight = weight.into_shape_with_order((outputs, inputs));
    let weight = weight.expect("a part of a contiguous vector has any shape of its length");
    (LayerMut { weight, bias }, rest)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};

    use super::*;

    #[test]
    fn a_layer_worked_by_hand() {
        // W = [[1, 2, 3], [4, 5, 6]], b = [10, 20], two rows; a further number belongs to the next layer.
        let weights = array![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0, 20.0, 99.0];
        let (layer, rest) = split(weights.view(), 2, 3);
        assert_eq!(rest, array![99.0]);
        let rows = array![[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]];
        assert_eq!(layer.forward(rows.view()), array![[8.0, 18.0], [14.0, 33.0]]);
        let upstream = array![[1.0, 0.0], [2.0, -1.0]];
        let mut gradient = Array1::from_elem(9, 0.5);
        let (mut own, rest) = split_mut(gradient.view_mut(), 2, 3);
        assert_eq!(rest.len(), 1);
        own.backward(rows.view(), &upstream);
        assert_eq!(
            gradient,
            array![5.5, 2.5, -0.5, -1.5, -0.5, 0.5, 3.5, -0.5, 0.5],
            "it adds"
        );
        assert_eq!(
            layer.backward_inputs(&upstream),
            array![[1.0, 2.0, 3.0], [-2.0, -1.0, 0.0]]
        );
    }
}
