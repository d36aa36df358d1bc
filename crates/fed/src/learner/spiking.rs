//! Spiking neurons, trained by surrogate gradient.

use ndarray::{Array2, ArrayView1, ArrayViewMut1, Zip};

use super::dense::Layer;
use super::{Batch, Network, Parameter, dense, loss};

/// Share of a potential that is left after one step: β = exp(−Δt/τ) for a membrane time constant of about ten steps.
const DECAY: f32 = 0.9;
/// Threshold θ of a potential. A neuron fires when its potential exceeds θ, and the spike reduces the potential by θ.
const THRESHOLD: f32 = 1.0;
/// Rate at which the surrogate's slope falls off around the threshold (Zenke & Ganguli's β).
const STEEPNESS: f32 = 5.0;

/// A layer of leaky integrate-and-fire neurons and a leaky readout without threshold.
///
/// A row's features are a constant current over `steps` steps. Hidden neuron j integrates u_j\[t\] = β u_j\[t−1\] + (W₁ x +
/// b₁)_j − θ s_j\[t−1\] and fires s_j\[t\] = 1 when u_j\[t\] > θ, else 0. The readout integrates W₂ s\[t\] with the same β,
/// and the scores are its mean over time plus b₂.
///
/// The step function of a spike has no useful slope. Training therefore uses the slope of the fast sigmoid, 1 / (1 + k |u −
/// θ|)², through time and through the reset (Zenke & Ganguli 2018, "SuperSpike", eq. 5; Neftci, Mostafa & Zenke 2019,
/// "Surrogate gradient learning in spiking neural networks").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spiking {
    /// Number of features in a row, at least 1.
    pub inputs: usize,
    /// Number of hidden neurons, at least 1.
    pub hidden: usize,
    /// Number of classes, at least 1.
    pub classes: usize,
    /// Number of time steps, at least 1.
    pub steps: usize,
}

/// Function from a potential's distance to the threshold to the neuron's output. Only tests use another function than
/// [`spike`].
type Fire = fn(f32) -> f32;

fn spike(distance: f32) -> f32 {
    f32::from(u8::from(distance > 0.0))
}

/// Returns the slope of the fast sigmoid, of steepness [`STEEPNESS`], at this distance from [`THRESHOLD`].
fn surrogate(distance: f32) -> f32 {
    1.0 / (1.0 + STEEPNESS * distance.abs()).powi(2)
}

/// Results of the forward pass that the backward pass needs; all have a row for each row of the batch and a column for each neuron.
struct Run {
    /// Distances of the potentials from the threshold at each step.
    distances: Vec<Array2<f32>>,
    /// The readout's trace of each neuron's output: Σ_t share\[t\] s\[t\].
    traces: Array2<f32>,
}

impl Spiking {
    /// Returns the weight of an output at each step t in the readout's mean potential: (1 + β + … + β^(steps−1−t)) / steps.
    fn shares(&self) -> Vec<f32> {
        let mut shares = vec![0.0; self.steps];
        let mut reached = 0.0;
        for share in shares.iter_mut().rev() {
            reached = 1.0 + DECAY * reached;
            *share = reached / self.steps as f32;
        }
        shares
    }

    /// Splits a parameter vector into the layer of the neurons and the readout.
    fn layers<'a>(&self, weights: ArrayView1<'a, f32>) -> (Layer<'a>, Layer<'a>) {
        let (neurons, rest) = dense::split(weights, self.hidden, self.inputs);
        (neurons, dense::split(rest, self.classes, self.hidden).0)
    }

    fn run(&self, neurons: &Layer<'_>, batch: &Batch<'_>, fire: Fire) -> Run {
        let current = neurons.forward(batch.features);
        let mut potential = Array2::<f32>::zeros(current.raw_dim());
        let mut output = Array2::<f32>::zeros(current.raw_dim());
        let mut traces = Array2::<f32>::zeros(current.raw_dim());
        let mut distances = Vec::with_capacity(self.steps);
        for share in self.shares() {
            Zip::from(&mut potential)
                .and(&mut output)
                .and(&current)
                .for_each(|u, s, i| {
                    *u = DECAY * *u + i - THRESHOLD * *s;
                    *s = fire(*u - THRESHOLD);
                });
            traces.scaled_add(share, &output);
            distances.push(&potential - THRESHOLD);
        }
        Run { distances, traces }
    }

    /// Computes the gradient of the loss by the neurons' currents from the gradient by their traces, backwards through
    /// time.
    fn currents_gradient(&self, run: &Run, by_trace: &Array2<f32>) -> Array2<f32> {
        let mut by_current = Array2::<f32>::zeros(by_trace.raw_dim());
        // The gradient by the potential of the following step.
        let mut by_next = Array2::<f32>::zeros(by_trace.raw_dim());
        for (share, distances) in self.shares().into_iter().zip(&run.distances).rev() {
            Zip::from(&mut by_next)
                .and(&mut by_current)
                .and(distances)
                .and(by_trace)
                .for_each(|next, sum, distance, trace| {
                    let by_output = share * trace - THRESHOLD * *next;
                    *next = DECAY * *next + surrogate(*distance) * by_output;
                    *sum += *next;
                });
        }
        by_current
    }

    fn scores_with(&self, weights: ArrayView1<'_, f32>, batch: &Batch<'_>, fire: Fire) -> (Run, Array2<f32>) {
        let (neurons, readout) = self.layers(weights);
        let run = self.run(&neurons, batch, fire);
        let scores = readout.forward(run.traces.view());
        (run, scores)
    }

    fn gradient_with(
        &self,
        weights: ArrayView1<'_, f32>,
        batch: &Batch<'_>,
        gradient: ArrayViewMut1<'_, f32>,
        fire: Fire,
    ) -> f32 {
        let (run, mut upstream) = self.scores_with(weights, batch, fire);
        let loss = loss::cross_entropy(&mut upstream, batch.labels);
        let (mut neurons, rest) = dense::split_mut(gradient, self.hidden, self.inputs);
        let (mut readout, _) = dense::split_mut(rest, self.classes, self.hidden);
        readout.backward(run.traces.view(), &upstream);
        let by_trace = self.layers(weights).1.backward_inputs(&upstream);
        neurons.backward(batch.features, &self.currents_gradient(&run, &by_trace));
        loss
    }
}

impl Network for Spiking {
    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::new("lif.weight", &[self.hidden, self.inputs]),
            Parameter::new("lif.bias", &[self.hidden]),
            Parameter::new("readout.weight", &[self.classes, self.hidden]),
            Parameter::new("readout.bias", &[self.classes]),
        ]
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn scores(&self, weights: ArrayView1<'_, f32>, batch: &Batch<'_>) -> Array2<f32> {
        self.scores_with(weights, batch, spike).1
    }

    fn loss_and_gradient(
        &self,
        weights: ArrayView1<'_, f32>,
        batch: &Batch<'_>,
        gradient: ArrayViewMut1<'_, f32>,
    ) -> f32 {
        self.gradient_with(weights, batch, gradient, spike)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::gradient_check::check;
    use super::*;

    /// The network with the fast sigmoid itself as the neurons' output instead of a spike. It is smooth, and the surrogate
    /// gradient is its true gradient.
    struct Smooth(Spiking);

    fn fast_sigmoid(distance: f32) -> f32 {
        distance / (1.0 + STEEPNESS * distance.abs())
    }

    impl Network for Smooth {
        fn parameters(&self) -> Vec<Parameter> {
            self.0.parameters()
        }
        fn inputs(&self) -> usize {
            self.0.inputs
        }
        fn classes(&self) -> usize {
            self.0.classes
        }
        fn scores(&self, weights: ArrayView1<'_, f32>, batch: &Batch<'_>) -> Array2<f32> {
            self.0.scores_with(weights, batch, fast_sigmoid).1
        }
        fn loss_and_gradient(
            &self,
            weights: ArrayView1<'_, f32>,
            batch: &Batch<'_>,
            gradient: ArrayViewMut1<'_, f32>,
        ) -> f32 {
            self.0.gradient_with(weights, batch, gradient, fast_sigmoid)
        }
    }

    #[test]
    fn the_surrogate_is_the_fast_sigmoid_s_slope() {
        for distance in [-2.0f32, -0.3, 0.1, 0.7, 3.0] {
            let h = 1e-3;
            let slope = (fast_sigmoid(distance + h) - fast_sigmoid(distance - h)) / (2.0 * h);
            assert!((surrogate(distance) - slope).abs() < 1e-3, "{distance}");
        }
    }

    /// Checks the gradient through time, through the reset and through the readout. The fast sigmoid's second derivative
    /// jumps at the threshold, hence the wider tolerance.
    #[test]
    fn the_smooth_network_s_gradient_is_the_loss_s_slope() {
        let network = Spiking {
            inputs: 5,
            hidden: 6,
            classes: 3,
            steps: 7,
        };
        check(&Smooth(network), 14, 3e-3);
    }

    /// A neuron with β = 0.9, θ = 1 and a current of 0.6 has the potentials 0.6, 1.14 (fires), 0.626, 1.1634 (fires).
    #[test]
    fn a_neuron_worked_by_hand() {
        let network = Spiking {
            inputs: 1,
            hidden: 1,
            classes: 1,
            steps: 4,
        };
        let features = array![[0.6]];
        let batch = Batch {
            features: features.view(),
            labels: &[0],
        };
        // The weight 1 and the bias 0; the readout does not matter.
        let weights = array![1.0, 0.0, 0.0, 0.0];
        let run = network.run(&network.layers(weights.view()).0, &batch, spike);
        let potentials: Vec<f32> = run.distances.iter().map(|d| d[[0, 0]] + 1.0).collect();
        for (got, expected) in potentials.iter().zip([0.6, 1.14, 0.626, 1.1634]) {
            assert!((got - expected).abs() < 1e-6, "{potentials:?}");
        }
        // The spikes of steps 1 and 3 (counted from 0) have the weights (1 + 0.9 + 0.81) / 4 and 1 / 4.
        assert!((run.traces[[0, 0]] - (2.71 + 1.0) / 4.0).abs() < 1e-6);
    }
}
