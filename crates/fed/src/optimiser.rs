//! Server optimisers: what a round's aggregated update makes of the weights, and the state that goes from checkpoint to
//! checkpoint for this.
//!
//! The aggregated update D takes the place of a gradient's opposite. All strategies but the plain mean then move the weights w
//! by a step that also depends on earlier rounds (η: `server_learning_rate`, β: `momentum`; operations on each coordinate):
//!
//! | strategy | state | step |
//! | --- | --- | --- |
//! | `fedavgm/1` (Hsu et al. 2019) | m ← β m + D | w ← w + η m |
//! | `diloco/1` (Douillard et al. 2023), Nesterov's momentum | m ← β m + D | w ← w + η (D + β m) |
//! | `fedadagrad/1` (Reddi et al. 2021, algorithm 2) | m ← β₁ m + (1 − β₁) D, v ← v + D² | w ← w + η m / (√v + τ) |
//! | `fedadam/1` | m likewise, v ← β₂ v + (1 − β₂) D² | likewise |
//! | `fedyogi/1` | m likewise, v ← v − (1 − β₂) D² sign(v − D²) | likewise |
//!
//! m begins at 0 and v at τ², as in the paper; there is no correction of the first rounds' bias. The state is kept as f32, as
//! f64 for tensors of f64. A step computes in f64 with the numbers before they are rounded to the state. Each operation
//! is one of IEEE 754 (no fused multiply-add), so the bits are the same on every machine.

use crate::record::{Dtype, Schema, TensorSpec};

/// A server optimiser with its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimiser {
    /// One moment: an average of the updates that forgets.
    Momentum {
        /// Step size η.
        rate: f64,
        /// Part β of the moment that stays, 0 to below 1.
        momentum: f64,
        /// True for Nesterov's form, which adds the new update once more.
        nesterov: bool,
    },
    /// Two moments: the step of each coordinate is scaled by the size of its updates.
    Adaptive {
        /// Step size η.
        rate: f64,
        /// Part β₁ of the first moment that stays, 0 to below 1.
        beta1: f64,
        /// Number τ that is added to the second moment's root, above 0.
        tau: f64,
        /// How the second moment grows.
        second: Second,
    },
}

/// How a second moment v takes in the square of an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Second {
    /// v + D².
    Adagrad,
    /// β₂ v + (1 − β₂) D², with this β₂.
    Adam(f64),
    /// v − (1 − β₂) D² sign(v − D²), with this β₂.
    Yogi(f64),
}

impl Optimiser {
    /// Returns the number of moments that the state holds for each float element.
    pub fn moments(self) -> usize {
        match self {
            Self::Momentum { .. } => 1,
            Self::Adaptive { .. } => 2,
        }
    }

    /// Returns the schema of the state: the model's float tensors, each with one more axis for the moments.
    pub fn state_schema(self, tensors: &[TensorSpec]) -> Schema {
        let floats = tensors.iter().filter(|tensor| tensor.dtype.is_float());
        let moments = floats.map(|tensor| TensorSpec {
            name: tensor.name.clone(),
            dtype: state_dtype(tensor.dtype),
            shape: tensor.shape.iter().copied().chain([self.moments() as u64]).collect(),
        });
        moments.collect()
    }

    /// Writes the moments from before the first round.
    pub(crate) fn begin(self, moments: &mut [f64]) {
        match self {
            Self::Momentum { .. } => moments.fill(0.0),
            Self::Adaptive { tau, .. } => {
                for [m, v] in moments.as_chunks_mut::<2>().0 {
                    (*m, *v) = (0.0, tau * tau);
                }
            }
        }
    }

    /// Turns aggregated updates, in place, into the steps that the weights make, and the moments of the same elements into
    /// the new ones. The moments of an element stand side by side.
    pub(crate) fn step(self, updates: &mut [f64], moments: &mut [f64]) {
        match self {
            Self::Momentum {
                rate,
                momentum,
                nesterov,
            } => {
                for (x, m) in updates.iter_mut().zip(moments) {
                    *m = momentum * *m + *x;
                    *x = rate * if nesterov { *x + momentum * *m } else { *m };
                }
            }
            Self::Adaptive {
                rate,
                beta1,
                tau,
                second,
            } => {
                for (x, [m, v]) in updates.iter_mut().zip(moments.as_chunks_mut::<2>().0) {
                    *m = beta1 * *m + (1.0 - beta1) * *x;
                    *v = second.next(*v, *x * *x);
                    *x = rate * (*m / (v.sqrt() + tau));
                }
            }
        }
    }
}

impl Second {
    fn next(self, v: f64, square: f64) -> f64 {
        match self {
            Self::Adagrad => v + square,
            Self::Adam(beta2) => beta2 * v + (1.0 - beta2) * square,
            // Where both are equal, the sign is 0 and v stays.
            Self::Yogi(_) if v == square => v,
            Self::Yogi(beta2) if v > square => v - (1.0 - beta2) * square,
            Self::Yogi(beta2) => v + (1.0 - beta2) * square,
        }
    }
}

/// Returns the dtype of the moments of a float tensor.
pub(crate) fn state_dtype(dtype: Dtype) -> Dtype {
    match dtype {
        Dtype::F64 => Dtype::F64,
        _ => Dtype::F32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENTUM: Optimiser = Optimiser::Momentum {
        rate: 0.5,
        momentum: 0.9,
        nesterov: false,
    };
    const NESTEROV: Optimiser = Optimiser::Momentum {
        rate: 0.7,
        momentum: 0.9,
        nesterov: true,
    };

    fn adaptive(second: Second) -> Optimiser {
        Optimiser::Adaptive {
            rate: 0.1,
            beta1: 0.9,
            tau: 1e-3,
            second,
        }
    }

    /// Returns the steps of one weight for these updates.
    fn steps(optimiser: Optimiser, updates: &[f64]) -> Vec<f64> {
        let mut moments = vec![9.0; optimiser.moments()];
        optimiser.begin(&mut moments);
        let step = |x: &f64| {
            let mut step = [*x];
            optimiser.step(&mut step, &mut moments);
            step[0]
        };
        updates.iter().map(step).collect()
    }

    fn assert_near(steps: &[f64], expected: &[f64]) {
        assert_eq!(steps.len(), expected.len());
        for (step, expected) in steps.iter().zip(expected) {
            assert!((step - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{steps:?}");
        }
    }

    #[test]
    fn momentum_adds_up_the_updates_that_it_remembers() {
        assert_near(&steps(MOMENTUM, &[1.0, -0.5, 0.25]), &[0.5, 0.2, 0.305]);
    }

    // The figures are those of PyTorch's `SGD(lr=0.7, momentum=0.9, nesterov=True)` with the gradients -1, 0.5, -0.25,
    // which is DiLoCo's outer optimiser: the momentum is 1, 0.4, 0.61.
    #[test]
    fn nesterov_adds_the_new_update_once_more() {
        assert_near(&steps(NESTEROV, &[1.0, -0.5, 0.25]), &[1.33, -0.098, 0.5593]);
    }

    // Computed from the formulas of Reddi et al. in Python.
    const ADAPTIVE: [(Second, [f64; 3]); 3] = [
        (
            Second::Adagrad,
            [0.009990004999999, 0.003574510195083, 0.005319870931097],
        ),
        (
            Second::Adam(0.99),
            [0.099005048882542, 0.035599956470432, 0.053234734300775],
        ),
        (
            Second::Yogi(0.99),
            [0.099004999875006, 0.035458518694882, 0.052782431661432],
        ),
    ];

    #[test]
    fn adaptive_steps_are_those_of_the_paper() {
        let updates = [1.0, -0.5, 0.25];
        for (second, expected) in ADAPTIVE {
            assert_near(&steps(adaptive(second), &updates), &expected);
        }
    }

    #[test]
    fn yogi_leaves_a_second_moment_that_equals_the_square() {
        assert_eq!(Second::Yogi(0.9).next(4.0, 4.0), 4.0);
        assert_eq!(Second::Yogi(0.75).next(4.0, 2.0), 3.5);
        assert_eq!(Second::Yogi(0.75).next(2.0, 4.0), 3.0);
    }

    #[test]
    fn no_update_makes_a_step_that_is_no_number() {
        let all = [
            MOMENTUM,
            NESTEROV,
            adaptive(Second::Adagrad),
            adaptive(Second::Adam(0.99)),
            adaptive(Second::Yogi(0.99)),
        ];
        for optimiser in all {
            for updates in [
                [f64::MAX; 4],
                [f64::MIN; 4],
                [f64::MAX, f64::MIN, f64::MAX, 0.0],
                [0.0; 4],
            ] {
                let mut moments = vec![0.0; optimiser.moments()];
                optimiser.begin(&mut moments);
                for x in updates {
                    let mut step = [x];
                    optimiser.step(&mut step, &mut moments);
                    // What is stored is never infinite.
                    for moment in &mut moments {
                        *moment = moment.clamp(f64::MIN, f64::MAX);
                    }
                    assert!(
                        !step[0].is_nan() && moments.iter().all(|m| m.is_finite()),
                        "{optimiser:?} {updates:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_state_has_the_float_tensors_with_one_more_axis() {
        let tensor = |name: &str, dtype, shape: &[u64]| TensorSpec {
            name: name.into(),
            dtype,
            shape: shape.to_vec(),
        };
        let model = [
            tensor("a", Dtype::Bf16, &[2, 3]),
            tensor("b", Dtype::I64, &[]),
            tensor("c", Dtype::F64, &[]),
        ];
        let state = adaptive(Second::Adagrad).state_schema(&model);
        assert_eq!(
            *state,
            [tensor("a", Dtype::F32, &[2, 3, 2]), tensor("c", Dtype::F64, &[2])]
        );
        assert_eq!(*MOMENTUM.state_schema(&model[1..]), [tensor("c", Dtype::F64, &[1])]);
    }
}
