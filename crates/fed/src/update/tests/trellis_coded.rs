//! Tests of `tcq/1`: the fidelity is met for every kind of update, and hostile bytes are refused or harmless.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::codec::{self, float};

/// Makes a file of zeros and one of these values; they are the update.
fn models(spec: &Spec, values: &[f64]) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut left) = (vec![], values);
    for tensor in spec.tensors.iter() {
        let (these, rest) = left.split_at(tensor.elements().unwrap() as usize);
        left = rest;
        let mut data = vec![0; these.len() * tensor.dtype.bytes()];
        if tensor.dtype.is_float() {
            float::round(tensor.dtype, these, &mut data);
        }
        bytes.push(data);
    }
    let zeros = bytes.iter().map(|data| vec![0; data.len()]).collect::<Vec<_>>();
    (file(spec, &zeros), file(spec, &bytes))
}

/// Codes an update and returns its bytes and its fidelity. Also checks that it is read, and has the length that it may have.
fn coded(spec: &Spec, values: &[f64]) -> (Vec<u8>, f32) {
    let (base, model) = models(spec, values);
    let (update, coded) = merged(spec, &base, &[weights(&model, 1)]);
    let least = codec::fidelity_min(&spec.codec);
    assert!(
        coded.fidelity >= least,
        "{} of {least}, {} elements",
        coded.fidelity,
        values.len()
    );
    assert!(Codec::Tcq.lengths(&spec.tensors).contains(&coded.bytes));
    (update, coded.fidelity)
}

fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random_range(1e-12..1.0), random.random_range(0.0..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Student's t with this many degrees of freedom.
fn student(random: &mut ChaCha8Rng, freedom: u32) -> f64 {
    let squares: f64 = (0..freedom).map(|_| normal(random).powi(2)).sum();
    normal(random) / (squares / f64::from(freedom)).sqrt()
}

fn many(n: usize, seed: u64, mut draw: impl FnMut(&mut ChaCha8Rng) -> f64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| draw(&mut random)).collect()
}

fn with_fidelity(least: f64, elements: usize) -> Spec {
    let mut spec = plain("tcq/1", elements);
    spec.codec.params.insert("fidelity_min".into(), least);
    spec
}

#[test]
fn a_gaussian_needs_at_most_3_41_bits_with_all_headers() {
    let n = 2_000_000;
    let (update, fidelity) = coded(&plain("tcq/1", n), &many(n, 1, normal));
    let bits = update.len() as f64 * 8.0 / n as f64;
    // The bound of the rate-distortion function is 3.322 bits at 0.99.
    assert!(bits <= 3.41, "{bits} bits at {fidelity}");
    assert!(fidelity < 0.990_05, "{fidelity}: more than asked for");
}

#[test]
fn a_sparse_update_that_is_sampled_is_still_coded_whole() {
    // The error of a sparse update is known less well from samples: one chunk that is not coded would cost 0.4 bits.
    let n = 1_200_000;
    let values = many(n, 13, |random| {
        if random.random_range(0..50) == 0 {
            normal(random)
        } else {
            0.0
        }
    });
    let (update, fidelity) = coded(&plain("tcq/1", n), &values);
    let bits = update.len() as f64 * 8.0 / n as f64;
    assert!(bits < 0.25, "{bits} bits at {fidelity}");
}

#[test]
fn every_distribution_and_length_keeps_the_fidelity() {
    for n in [0, 1, 2, 3, 7, 8, 9, 255, 256, 257, 5000, 16384, 16385, 70_000] {
        let sources: [(&str, Vec<f64>); 10] = [
            ("normal", many(n, 2, normal)),
            ("t5", many(n, 3, |random| student(random, 5))),
            ("t3", many(n, 4, |random| student(random, 3))),
            ("t1", many(n, 5, |random| student(random, 1))),
            ("constant", vec![0.125; n]),
            ("small constant", vec![-3e-30; n]),
            ("zero", vec![0.0; n]),
            (
                "sparse",
                many(n, 6, |random| {
                    if random.random_range(0..50) == 0 {
                        normal(random)
                    } else {
                        0.0
                    }
                }),
            ),
            ("uniform", many(n, 7, |random| random.random_range(-1.0..1.0))),
            ("clipped", many(n, 8, |random| normal(random).clamp(-0.5, 0.5))),
        ];
        for least in [0.5, 0.9, 0.99, 0.9999] {
            let spec = with_fidelity(least, n);
            for (name, values) in &sources {
                let (update, fidelity) = coded(&spec, values);
                let bits = update.len() as f64 * 8.0 / n.max(1) as f64;
                assert!(
                    n < 70_000 || least > 0.99 || bits < 4.2,
                    "{name}: {bits} bits at {fidelity}"
                );
            }
        }
    }
}

#[test]
fn the_ends_of_the_range_keep_the_fidelity() {
    let scaled = |by: f64| many(3000, 9, move |random| normal(random).clamp(-3.0, 3.0) * by);
    for by in [1e-40, 1e-38, 1e30, 1e38] {
        coded(&plain("tcq/1", 3000), &scaled(by));
    }
    for (dtype, by) in [
        (Dtype::F64, 1e-300),
        (Dtype::F64, 1e-318),
        (Dtype::F64, 1.0),
        (Dtype::F64, 5e307),
        (Dtype::F16, 1e-4),
        (Dtype::F16, 2e4),
        (Dtype::Bf16, 1e-30),
        (Dtype::Bf16, 1e37),
    ] {
        let spec = spec("tcq/1", vec![tensor("w", dtype, &[3000])]);
        coded(&spec, &scaled(by));
    }
    // Tensors of very different size and type share the step.
    let tensors = [Dtype::F32, Dtype::F64, Dtype::Bf16, Dtype::F16, Dtype::I64, Dtype::F32];
    let named = |(i, dtype): (usize, &Dtype)| tensor(&format!("{i}"), *dtype, &[20_000]);
    let spec = spec("tcq/1", tensors.iter().enumerate().map(named).collect());
    let mut random = ChaCha8Rng::seed_from_u64(10);
    let sizes = [1.0, 1e3, 1e-6, 1e-2, 0.0, 30.0];
    let values = sizes
        .iter()
        .flat_map(|size| [*size; 20_000])
        .map(|size| size * normal(&mut random));
    coded(&spec, &values.collect::<Vec<_>>());
}

#[test]
fn a_tiny_tensor_beside_an_ordinary_one_is_no_infinity() {
    let tensors = vec![tensor("a", Dtype::F32, &[2000]), tensor("b", Dtype::F64, &[500])];
    let values = [many(2000, 12, normal), vec![1e-310; 500]].concat();
    coded(&spec("tcq/1", tensors), &values);
}

#[test]
fn a_zero_costs_nothing_and_small_updates_are_sent_as_they_are() {
    let n = 1 << 20;
    let update = coded(&plain("tcq/1", n), &vec![0.0; n]).0;
    assert_eq!(update.len(), 9 + 2 * n / batch::BATCH_ELEMENTS);
    for n in 1..4 {
        assert_eq!(coded(&plain("tcq/1", n), &vec![0.7; n]).0.len(), 9 + 4 * n + 2);
    }
}

#[test]
fn fidelities_that_the_codec_does_not_keep_are_refused_with_a_remedy() {
    for least in [0.0, 0.4999, 0.99991, 1.0] {
        let error = Codec::of(&with_fidelity(least, 1).codec).unwrap_err().to_string();
        assert!(error.contains("0.5 to 0.9999") && error.contains("none/1"), "{error}");
    }
}

/// Bytes that are cut, longer or altered give an error or finite numbers.
fn harmless(spec: &Spec, update: &[u8]) {
    if check(spec, &update).is_ok() {
        let zeros: u64 = spec.tensors.iter().map(|tensor| tensor.elements().unwrap()).sum();
        let base = models(spec, &vec![0.0; zeros as usize]).0;
        aggregated(spec, &base, &[(update.to_vec(), 1, 0)]);
    } else {
        let fresh = [Weighted {
            update: &update,
            author: NodeId([1; 32]),
            samples: 1,
            staleness: 0,
            figures: Figures::default(),
        }];
        let zeros: u64 = spec.tensors.iter().map(|tensor| tensor.elements().unwrap()).sum();
        let base = models(spec, &vec![0.0; zeros as usize]).0;
        // An update that was not checked does not panic, either.
        let _ = aggregate(
            spec,
            parent(&base),
            &fresh,
            &[],
            Outputs::of_weights(&mut std::io::sink()),
        );
    }
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused_or_harmless() {
    let tensors = vec![
        tensor("a", Dtype::F32, &[700]),
        tensor("b", Dtype::I32, &[3]),
        tensor("c", Dtype::F64, &[40]),
    ];
    let spec = spec("tcq/1", tensors);
    let update = coded(&spec, &many(743, 11, |random| student(random, 2))).0;
    for cut in 0..update.len() {
        assert!(check(&spec, &&update[..cut]).is_err(), "cut at {cut}");
    }
    assert!(check(&spec, &[update.as_slice(), &[0]].concat()).is_err());
    for at in 0..update.len() {
        for flip in [1, 0x80, 0xff] {
            let mut altered = update.clone();
            altered[at] ^= flip;
            harmless(&spec, &altered);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_update_keeps_the_fidelity(values in prop::collection::vec(prop_oneof![
        8 => -1.0f64..1.0,
        2 => any::<f32>().prop_filter("finite", |x| x.is_finite()).prop_map(f64::from),
        2 => Just(0.0),
        1 => -1e4f64..1e4,
    ], 0..900), least in 0.5f64..0.9999) {
        coded(&with_fidelity(least, values.len()), &values);
    }

    #[test]
    fn altered_bytes_are_refused_or_harmless(seed in any::<u64>(), flips in 1usize..20) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let spec = plain("tcq/1", 2000);
        let mut update = coded(&spec, &many(2000, seed, normal)).0;
        for _ in 0..flips {
            let at = random.random_range(0..update.len());
            update[at] = random.random();
        }
        harmless(&spec, &update);
    }
}
