//! The affine layer's kernels: y = W x + b and its gradients, for a batch of rows.

/// Number of partial sums of one dot product. Eight f32 lanes are one AVX register, and the compiler may not reorder a
/// single sum.
const LANES: usize = 8;

/// Returns the sum of products of two slices of one length.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Adds `factor × from` to `into`.
pub(super) fn add_scaled(into: &mut [f32], factor: f32, from: &[f32]) {
    for (y, x) in into.iter_mut().zip(from) {
        *y += factor * x;
    }
}

/// Writes `out[r] = weight · rows[r] + bias`; `weight` is `[outputs, inputs]`, `outputs = bias.len()`.
pub(super) fn forward(rows: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let inputs = weight.len() / bias.len();
    for (row, out) in rows.chunks_exact(inputs).zip(out.chunks_exact_mut(bias.len())) {
        for ((y, w), b) in out.iter_mut().zip(weight.chunks_exact(inputs)).zip(bias) {
            *y = dot(row, w) + b;
        }
    }
}

/// Adds the gradients of weight and bias to `weight_gradient` and `bias_gradient`. `upstream` is the gradient of the loss
/// by the layer's outputs.
pub(super) fn backward(rows: &[f32], upstream: &[f32], weight_gradient: &mut [f32], bias_gradient: &mut [f32]) {
    let outputs = bias_gradient.len();
    let inputs = weight_gradient.len() / outputs;
    for (row, upstream) in rows.chunks_exact(inputs).zip(upstream.chunks_exact(outputs)) {
        add_scaled(bias_gradient, 1.0, upstream);
        for (&u, w) in upstream.iter().zip(weight_gradient.chunks_exact_mut(inputs)) {
            // The gradients of spikes and of ReLU are often exactly 0, so the work for them is skipped.
            if u != 0.0 {
                add_scaled(w, u, row);
            }
        }
    }
}

/// Writes the gradient of the loss by the layer's inputs to `out`.
pub(super) fn backward_inputs(weight: &[f32], upstream: &[f32], outputs: usize, out: &mut [f32]) {
    let inputs = weight.len() / outputs;
    out.fill(0.0);
    for (upstream, out) in upstream.chunks_exact(outputs).zip(out.chunks_exact_mut(inputs)) {
        for (&u, w) in upstream.iter().zip(weight.chunks_exact(inputs)) {
            add_scaled(out, u, w);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_worked_by_hand() {
        // W = [[1, 2, 3], [4, 5, 6]], b = [10, 20], two rows.
        let (weight, bias) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 20.0]);
        let rows = [1.0, 0.0, -1.0, 2.0, 1.0, 0.0];
        let mut out = [0.0; 4];
        forward(&rows, &weight, &bias, &mut out);
        assert_eq!(out, [8.0, 18.0, 14.0, 33.0]);
        let upstream = [1.0, 0.0, 2.0, -1.0];
        let (mut dw, mut db, mut dx) = ([0.0; 6], [0.0; 2], [9.0; 6]);
        backward(&rows, &upstream, &mut dw, &mut db);
        assert_eq!(dw, [5.0, 2.0, -1.0, -2.0, -1.0, 0.0]);
        assert_eq!(db, [3.0, -1.0]);
        backward_inputs(&weight, &upstream, 2, &mut dx);
        assert_eq!(dx, [1.0, 2.0, 3.0, -2.0, -1.0, 0.0]);
    }

    #[test]
    fn a_dot_product_longer_than_its_lanes() {
        let a: Vec<f32> = (0..19).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), 2109.0, "sum of squares below 19");
    }
}
