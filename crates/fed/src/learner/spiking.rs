//! Spiking neurons, trained by surrogate gradient.

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

/// Results of the forward pass that the backward pass needs.
struct Run {
    /// Distances of the potentials from the threshold: for each step one row of all neurons of all rows.
    distances: Vec<Vec<f32>>,
    /// The readout's trace of each neuron's output: Σ_t share\[t\] s\[t\].
    traces: Vec<f32>,
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

    fn run(&self, weight: &[f32], bias: &[f32], batch: &Batch<'_>, fire: Fire) -> Run {
        let neurons = batch.labels.len() * self.hidden;
        let mut current = vec![0.0; neurons];
        dense::forward(batch.features, weight, bias, &mut current);
        let mut potential = vec![0.0f32; neurons];
        let mut output = vec![0.0f32; neurons];
        let mut traces = vec![0.0f32; neurons];
        let mut distances = Vec::with_capacity(self.steps);
        for share in self.shares() {
            for ((u, s), i) in potential.iter_mut().zip(&mut output).zip(&current) {
                *u = DECAY * *u + i - THRESHOLD * *s;
                *s = fire(*u - THRESHOLD);
            }
            dense::add_scaled(&mut traces, share, &output);
            distances.push(potential.iter().map(|u| u - THRESHOLD).collect());
        }
        Run { distances, traces }
    }

    /// Computes the gradient of the loss by the neurons' currents from the gradient by their traces, backwards through
    /// time.
    fn currents_gradient(&self, run: &Run, by_trace: &[f32]) -> Vec<f32> {
        let mut by_current = vec![0.0f32; by_trace.len()];
        // The gradient by the potential of the following step.
        let mut by_next = vec![0.0f32; by_trace.len()];
        for (share, distances) in self.shares().into_iter().zip(&run.distances).rev() {
            let neurons = by_next
                .iter_mut()
                .zip(&mut by_current)
                .zip(distances.iter().zip(by_trace));
            for ((next, sum), (&distance, trace)) in neurons {
                let by_output = share * trace - THRESHOLD * *next;
                *next = DECAY * *next + surrogate(distance) * by_output;
                *sum += *next;
            }
        }
        by_current
    }

    fn scores_with(&self, weights: &[f32], batch: &Batch<'_>, scores: &mut [f32], fire: Fire) -> Run {
        let (first, second) = weights.split_at(self.hidden * (self.inputs + 1));
        let (weight, bias) = first.split_at(self.hidden * self.inputs);
        let run = self.run(weight, bias, batch, fire);
        let (weight, bias) = second.split_at(self.classes * self.hidden);
        dense::forward(&run.traces, weight, bias, scores);
        run
    }

    fn gradient_with(&self, weights: &[f32], batch: &Batch<'_>, gradient: &mut [f32], fire: Fire) -> f32 {
        let mut upstream = vec![0.0; batch.labels.len() * self.classes];
        let run = self.scores_with(weights, batch, &mut upstream, fire);
        let loss = loss::cross_entropy(&mut upstream, batch.labels);
        let (first, second) = gradient.split_at_mut(self.hidden * (self.inputs + 1));
        let (weight, bias) = second.split_at_mut(self.classes * self.hidden);
        dense::backward(&run.traces, &upstream, weight, bias);
        let readout = &weights[self.hidden * (self.inputs + 1)..][..self.classes * self.hidden];
        let mut by_trace = vec![0.0; run.traces.len()];
        dense::backward_inputs(readout, &upstream, self.classes, &mut by_trace);
        let by_current = self.currents_gradient(&run, &by_trace);
        let (weight, bias) = first.split_at_mut(self.hidden * self.inputs);
        dense::backward(batch.features, &by_current, weight, bias);
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

    fn scores(&self, weights: &[f32], batch: &Batch<'_>, scores: &mut [f32]) {
        self.scores_with(weights, batch, scores, spike);
    }

    fn loss_and_gradient(&self, weights: &[f32], batch: &Batch<'_>, gradient: &mut [f32]) -> f32 {
        self.gradient_with(weights, batch, gradient, spike)
    }
}

#[cfg(test)]
mod tests {
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
        fn scores(&self, weights: &[f32], batch: &Batch<'_>, scores: &mut [f32]) {
            self.0.scores_with(weights, batch, scores, fast_sigmoid);
        }
        fn loss_and_gradient(&self, weights: &[f32], batch: &Batch<'_>, gradient: &mut [f32]) -> f32 {
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
        let batch = Batch {
            features: &[0.6],
            labels: &[0],
        };
        let run = network.run(&[1.0], &[0.0], &batch, spike);
        let potentials: Vec<f32> = run.distances.iter().map(|d| d[0] + 1.0).collect();
        for (got, expected) in potentials.iter().zip([0.6, 1.14, 0.626, 1.1634]) {
            assert!((got - expected).abs() < 1e-6, "{potentials:?}");
        }
        // The spikes of steps 1 and 3 (counted from 0) have the weights (1 + 0.9 + 0.81) / 4 and 1 / 4.
        assert!((run.traces[0] - (2.71 + 1.0) / 4.0).abs() < 1e-6);
    }
}
