//! Tests of aggregations with a server optimiser, over several rounds.

use super::*;
use crate::optimiser::{Optimiser, Second};
use crate::strategy;

/// Elements of the largest tensor: three batches, the last of them short.
const ELEMENTS: usize = 2 * (1 << 14) + 77;

fn model(strategy: &str, numbers: &[(&str, f64)]) -> Spec {
    let mut spec = spec(
        "none/1",
        vec![
            tensor("a", Dtype::F32, &[3]),
            tensor("b", Dtype::I64, &[2]),
            tensor("c", Dtype::F32, &[ELEMENTS as u64]),
            tensor("d", Dtype::F64, &[5]),
        ],
    );
    spec.strategy = Rule::new(strategy);
    let numbers = numbers.iter().map(|(name, value)| ((*name).to_owned(), *value));
    spec.strategy.params = numbers.collect();
    spec
}

/// Weights whose elements are all different, the integers included.
fn numbers(spec: &Spec, scale: f64) -> Vec<u8> {
    let data = spec.tensors.iter().map(|tensor| {
        let x = |i: u64| scale * ((i % 101) as f64 - 40.0 + tensor.name.len() as f64);
        let bytes = (0..tensor.elements().unwrap()).map(|i| match tensor.dtype {
            Dtype::F32 => (x(i) as f32).to_le_bytes().to_vec(),
            Dtype::F64 => x(i).to_le_bytes().to_vec(),
            _ => (x(i) as i64).to_le_bytes().to_vec(),
        });
        bytes.collect::<Vec<_>>().concat()
    });
    file(spec, &data.collect::<Vec<_>>())
}

struct Round {
    weights: Vec<u8>,
    state: Vec<u8>,
}

/// Aggregates two members' weights, with 1 and 3 samples.
fn round(spec: &Spec, base: &[u8], state: Option<&Vec<u8>>, members: [&[u8]; 2]) -> Result<Round, TensorError> {
    let updates = members.map(|file| merged(spec, base, &[weights(&file, 1)]).0);
    let part = |(update, author): (&'_ Vec<u8>, u8)| -> (Vec<u8>, u8) { (update.clone(), author) };
    let updates: Vec<_> = updates.iter().zip(1..).map(part).collect();
    let fresh: Vec<_> = updates
        .iter()
        .map(|(update, author)| Weighted {
            update,
            author: NodeId([*author; 32]),
            samples: [1, 3][usize::from(*author) - 1],
            staleness: 0,
            figures: Figures::default(),
        })
        .collect();
    let (mut weights, mut moments) = (vec![], vec![]);
    let out = Outputs {
        weights: &mut weights,
        optimiser: Some(&mut moments),
    };
    let parent = Parent {
        optimiser: state.map(|file| file as _),
        ..parent(&base)
    };
    aggregate(spec, parent, &fresh, &[], out)?;
    Ok(Round {
        weights,
        state: moments,
    })
}

/// The same, element by element, on the floats of a file.
fn expected(optimiser: Optimiser, base: f64, mean: f64, moments: &mut [f64], single: bool) -> f64 {
    let d = mean - base;
    let step = match optimiser {
        Optimiser::Momentum {
            rate,
            momentum,
            nesterov,
        } => {
            moments[0] = momentum * moments[0] + d;
            let step = if nesterov {
                d + momentum * moments[0]
            } else {
                moments[0]
            };
            rate * step
        }
        Optimiser::Adaptive {
            rate,
            beta1,
            tau,
            second,
        } => {
            moments[0] = beta1 * moments[0] + (1.0 - beta1) * d;
            moments[1] = match second {
                Second::Adagrad => moments[1] + d * d,
                Second::Adam(beta2) => beta2 * moments[1] + (1.0 - beta2) * d * d,
                Second::Yogi(beta2) => moments[1] - (1.0 - beta2) * d * d * (moments[1] - d * d).signum(),
            };
            rate * moments[0] / (moments[1].sqrt() + tau)
        }
    };
    if single {
        moments.iter_mut().for_each(|m| *m = f64::from(*m as f32));
    }
    base + step
}

fn floats_of(spec: &Spec, file: &[u8]) -> Vec<(f64, bool)> {
    let layout = Layout::of(&spec.tensors);
    let floats = spec.tensors.iter().zip(layout.slots());
    let read = |(tensor, slot): (&TensorSpec, &crate::tensor::Slot)| {
        let data = &file[slot.offset as usize..(slot.offset + slot.bytes) as usize];
        let single = |x: &[u8; 4]| (f64::from(f32::from_le_bytes(*x)), true);
        match tensor.dtype {
            Dtype::F32 => data.as_chunks().0.iter().map(single).collect(),
            Dtype::F64 => data
                .as_chunks()
                .0
                .iter()
                .map(|x| (f64::from_le_bytes(*x), false))
                .collect(),
            _ => vec![],
        }
    };
    floats.flat_map(read).collect()
}

#[test]
fn every_optimiser_makes_the_steps_of_its_formula_round_after_round() {
    for strategy in ["fedavgm/1", "diloco/1", "fedadagrad/1", "fedadam/1", "fedyogi/1"] {
        let spec = model(strategy, &[("server_learning_rate", 0.5)]);
        let optimiser = strategy::optimiser(&spec.strategy).unwrap();
        let each = optimiser.moments();
        let mut base = numbers(&spec, 0.01);
        let members = [numbers(&spec, 0.02), numbers(&spec, -0.03)];
        let count = floats_of(&spec, &base).len();
        let mut moments = vec![0.0; count * each];
        optimiser.begin(&mut moments);
        let mut state = None;
        for number in 0..3 {
            let next = round(&spec, &base, state.as_ref(), [&members[0], &members[1]]).unwrap();
            check_weights(&spec.tensors, &next.weights).unwrap();
            check_weights(&optimiser.state_schema(&spec.tensors), &next.state).unwrap();
            let members: Vec<_> = members.iter().map(|file| floats_of(&spec, file)).collect();
            let (before, after) = (floats_of(&spec, &base), floats_of(&spec, &next.weights));
            for i in 0..count {
                let (x, single) = before[i];
                let mean = 0.25 * members[0][i].0 + 0.75 * members[1][i].0;
                let expected = expected(optimiser, x, mean, &mut moments[i * each..][..each], single);
                let near = (after[i].0 - expected).abs() <= 1e-4 * expected.abs().max(1e-2);
                assert!(
                    near,
                    "{strategy}, round {number}, element {i}: {} is not {expected}",
                    after[i].0
                );
            }
            (base, state) = (next.weights, Some(next.state));
        }
    }
}

#[test]
fn integers_are_no_matter_of_the_optimiser() {
    let (adam, mean) = (model("fedadam/1", &[]), model("fedavg/1", &[]));
    let base = numbers(&adam, 0.1);
    let member = numbers(&adam, 0.7);
    let next = round(&adam, &base, None, [&member, &base]).unwrap();
    let plain = round(&mean, &base, None, [&member, &base]).unwrap();
    assert!(plain.state.is_empty(), "the mean has no state");
    let layout = Layout::of(&adam.tensors);
    let slot = &layout.slots()[1];
    let counter = slot.offset as usize..(slot.offset + slot.bytes) as usize;
    assert_eq!(next.weights[counter.clone()], plain.weights[counter]);
}

#[test]
fn with_no_momentum_and_rate_one_the_step_is_the_mean() {
    let (momentum, mean) = (
        model("fedavgm/1", &[("momentum", 0.0), ("server_learning_rate", 1.0)]),
        model("fedavg/1", &[]),
    );
    let base = numbers(&mean, 0.1);
    let members = [numbers(&mean, 0.2), numbers(&mean, 0.3)];
    let round = |spec| round(spec, &base, None, [&members[0], &members[1]]).unwrap().weights;
    assert_eq!(round(&momentum), round(&mean));
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads_or_on_the_rule_that_combines() {
    for rules in [vec![], vec![Rule::new("median/1")]] {
        let mut spec = model("fedyogi/1", &[]);
        spec.aggregation = rules;
        let base = numbers(&spec, 0.1);
        let members = [numbers(&spec, 0.2), numbers(&spec, 0.3)];
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let first = round(&spec, &base, None, [&members[0], &members[1]]).unwrap();
                let next = round(&spec, &first.weights, Some(&first.state), [&members[1], &members[0]]).unwrap();
                (next.weights, next.state)
            })
        };
        assert!(run(1) == run(5), "the same bits");
    }
}

#[test]
fn a_state_of_another_model_and_a_missing_output_are_errors() {
    let spec = model("fedadam/1", &[]);
    let base = numbers(&spec, 0.1);
    let error = |state: Vec<u8>| {
        let result = round(&spec, &base, Some(&state), [&base, &base]);
        result.err().expect("an error").to_string()
    };
    for bad in [base.clone(), vec![], vec![0; 1 << 20]] {
        let text = error(bad);
        assert!(text.contains("canonical file"), "{text}");
    }
    let update = merged(&spec, &base, &[weights(&base, 1)]).0;
    let fresh = [Weighted {
        update: &update,
        author: NodeId([1; 32]),
        samples: 1,
        staleness: 0,
        figures: Figures::default(),
    }];
    let mut out = vec![];
    let missing = aggregate(
        &spec,
        parent(&base.as_slice()),
        &fresh,
        &[],
        Outputs::of_weights(&mut out),
    );
    assert!(missing.unwrap_err().to_string().contains("needs an output"));
}
