//! Tests of an update from submission to aggregation: merged, coded, checked, aggregated.

mod noise;
mod optimisers;
mod trellis_coded;
mod whole_way;

use super::*;
use crate::id::{BlobId, CheckpointId, NodeId};
use crate::record::{Dtype, End, Figures, Membership, RoundPolicy, Rule, TensorSpec};
use ndarray::ArrayView1;

use crate::tensor::{Layout, check_weights, to_safetensors};

fn tensor(name: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.into(),
    }
}

fn spec(codec: &str, tensors: Vec<TensorSpec>) -> Spec {
    Spec {
        name: "test".parse().unwrap(),
        tensors: tensors.into(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy::default(),
        codec: Rule::new(codec),
        privacy: Rule::new("none/1"),
        membership: Membership::List([NodeId([1; 32])].into()),
        checkpoint0: BlobId([0; 32]),
        fixed: None,
        creator: NodeId([1; 32]),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    }
}

/// Makes the canonical file of these tensors' bytes.
fn file(spec: &Spec, data: &[Vec<u8>]) -> Vec<u8> {
    let layout = Layout::of(&spec.tensors);
    let bytes = [layout.header(), &data.concat()].concat();
    assert_eq!(bytes.len() as u64, layout.file_bytes());
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    to_safetensors([("w", ArrayView1::from(values))])
}

fn plain(codec: &str, elements: usize) -> Spec {
    spec(codec, vec![tensor("w", Dtype::F32, &[elements as u64])])
}

fn merged(spec: &Spec, base: &[u8], parts: &[Part<'_>]) -> (Vec<u8>, Coded) {
    let mut out = Vec::new();
    let coded = merge_and_encode(spec, &base, parts, &mut out).unwrap();
    assert_eq!(coded.bytes, out.len() as u64);
    check(spec, &out).unwrap();
    (out, coded)
}

/// Aggregates `(update, samples, staleness)` triples; an update is fresh if its staleness is 0.
fn aggregated(spec: &Spec, base: &[u8], updates: &[(Vec<u8>, u64, u32)]) -> Vec<u8> {
    let weighted = |late: bool| -> Vec<Weighted<'_>> {
        updates
            .iter()
            .zip(0..)
            .filter(|((_, _, staleness), _)| (*staleness > 0) == late)
            .map(|((update, samples, staleness), author)| Weighted {
                update,
                author: NodeId([author; 32]),
                samples: *samples,
                staleness: *staleness,
                figures: Figures::default(),
            })
            .collect()
    };
    let mut out = Vec::new();
    aggregate(
        spec,
        parent(&base),
        &weighted(false),
        &weighted(true),
        Outputs::of_weights(&mut out),
    )
    .unwrap();
    check_weights(&spec.tensors, &out).unwrap();
    out
}

fn parent(weights: &dyn Source) -> Parent<'_> {
    Parent {
        id: CheckpointId([9; 32]),
        weights,
        optimiser: None,
    }
}

fn weights(file: &dyn Source, samples: u64) -> Part<'_> {
    Part {
        file,
        samples,
        delta: false,
        steps: None,
    }
}

fn delta(file: &dyn Source, samples: u64) -> Part<'_> {
    Part {
        file,
        samples,
        delta: true,
        steps: None,
    }
}

#[test]
fn fedavg_is_mcmahans_mean_of_weights_by_samples() {
    // w = sum of n_k / n * w_k: (1 * 1 + 3 * 5) / 4 = 4, (1 * 2 + 3 * -2) / 4 = -1, (1 * 0.5 + 3 * 0.5) / 4 = 0.5.
    let spec = plain("none/1", 3);
    let base = floats(&[0.5, 0.5, 0.5]);
    let (a, b) = (floats(&[1.0, 2.0, 0.5]), floats(&[5.0, -2.0, 0.5]));
    let expected = floats(&[4.0, -1.0, 0.5]);
    // The first case is two nodes with one trainer each.
    let updates = [
        (merged(&spec, &base, &[weights(&a, 1)]).0, 1, 0),
        (merged(&spec, &base, &[weights(&b, 3)]).0, 3, 0),
    ];
    assert_eq!(aggregated(&spec, &base, &updates), expected);
    // The second case is one node with two trainers; the mean is the same.
    let (both, coded) = merged(&spec, &base, &[weights(&a, 1), weights(&b, 3)]);
    assert_eq!((coded.samples, coded.fidelity), (4, 1.0));
    assert_eq!(aggregated(&spec, &base, &[(both, 4, 0)]), expected);
}

#[test]
fn deltas_and_weights_say_the_same_and_may_be_mixed() {
    let spec = plain("none/1", 2);
    let base = floats(&[1.0, -1.0]);
    let (as_weights, as_delta) = (floats(&[3.0, 0.0]), floats(&[2.0, 1.0]));
    let one = merged(&spec, &base, &[weights(&as_weights, 5)]).0;
    assert_eq!(one, merged(&spec, &base, &[delta(&as_delta, 5)]).0);
    assert_eq!(
        one,
        merged(&spec, &base, &[weights(&as_weights, 1), delta(&as_delta, 1)]).0
    );
    assert_eq!(one, [2f32, 1.0].map(f32::to_le_bytes).concat());
}

#[test]
fn late_ones_are_discounted_deltas() {
    // Staleness 3: 1 / sqrt(1 + 3) = 1/2. Shares 8 / (8 + 4) and 4 / (8 + 4): 1 + 2/3 * 3 + 1/3 * 6 = 5.
    let spec = plain("none/1", 1);
    let raw = |x: f32| x.to_le_bytes().to_vec();
    let result = aggregated(&spec, &floats(&[1.0]), &[(raw(3.0), 8, 0), (raw(6.0), 8, 3)]);
    assert_eq!(result, floats(&[5.0]));
}

#[test]
fn sums_beyond_the_range_end_at_its_largest_number() {
    let spec = plain("none/1", 2);
    let (max, base) = (f32::MAX, floats(&[f32::MAX, f32::MIN]));
    let away = [max, -max].map(f32::to_le_bytes).concat();
    assert_eq!(aggregated(&spec, &base, &[(away, 1, 0)]), base);

    let doubles = super::tests::spec("none/1", vec![tensor("w", Dtype::F64, &[1])]);
    let one = |x: f64| file(&doubles, &[x.to_le_bytes().to_vec()]);
    let away = f64::MIN.to_le_bytes().to_vec();
    assert_eq!(aggregated(&doubles, &one(f64::MIN), &[(away, 1, 0)]), one(f64::MIN));
}

fn refusal(spec: &Spec, base: &[u8], part: Part<'_>) -> String {
    let error = merge_and_encode(spec, &base, &[part], &mut std::io::sink()).unwrap_err();
    assert!(matches!(error, TensorError::Bad(_)), "{error}");
    error.to_string()
}

#[test]
fn what_a_codec_or_a_dtype_cannot_hold_is_refused_by_tensor_with_its_figures() {
    let one = |codec: &str, dtype: Dtype, bytes: &dyn Fn(f64) -> Vec<u8>, from: f64, to: f64, delta: bool| {
        // The tensor "large" has so large an update that the fidelity of the whole update shows no error in "w".
        let others = vec![tensor("large", Dtype::F32, &[1]), tensor("w", dtype, &[1])];
        let spec = spec(codec, others);
        let large = if codec == "f16/1" { 6e4 } else { 1e38 };
        let model = |large: f32, w: f64| file(&spec, &[large.to_le_bytes().to_vec(), bytes(w)]);
        let part = Part {
            file: &model(large, to),
            samples: 1,
            delta,
            steps: None,
        };
        refusal(&spec, &model(if delta { 0.0 } else { 1.0 }, from), part)
    };
    let f16 = |x: f64| half::f16::from_f64(x).to_le_bytes().to_vec();
    let f32 = |x: f64| (x as f32).to_le_bytes().to_vec();
    let f64 = |x: f64| x.to_le_bytes().to_vec();
    let largest = f64::from(f32::MAX);
    let cases = [
        (
            one("none/1", Dtype::F16, &f16, -6e4, 6e4, false),
            "by 1.2e5, none/1 of F16 holds at most 6.5504e4",
        ),
        (
            one("none/1", Dtype::F32, &f32, -largest, largest, false),
            "none/1 of F32 holds at most 3.40",
        ),
        (
            one("none/1", Dtype::F64, &f64, -1e308, 1e308, false),
            "none/1 of F64 holds at most 1.79",
        ),
        (
            one("bf16/1", Dtype::F64, &f64, 0.0, 1e39, false),
            "by 1e39, bf16/1 of F64 holds at most 3.38",
        ),
        (
            one("f16/1", Dtype::F32, &f32, 0.0, 1e5, false),
            "by 1e5, f16/1 of F32 holds at most 6.5504e4",
        ),
        (
            one("int8/1", Dtype::F64, &f64, 0.0, 1e300, false),
            "by 1e300, int8/1 of F64 holds at most 4.3",
        ),
        (
            one("none/1", Dtype::F16, &f16, 6e4, 6e4, true),
            "with the update on it an element is 1.2e5",
        ),
    ];
    for (said, expected) in cases {
        assert!(said.contains("tensor \"w\"") && said.contains(expected), "{said}");
    }
}

#[test]
fn an_update_below_the_least_fidelity_is_refused_with_it() {
    let mut spec = plain("bf16/1", 1);
    // The value is smaller than bfloat16's smallest number.
    let vanishing = floats(&[f32::from_bits(1)]);
    let said = refusal(&spec, &floats(&[0.0]), weights(&vanishing, 1));
    assert!(
        said.contains("fidelity of 0.000000") && said.contains("at least") && said.contains("0.99"),
        "{said}"
    );
    spec.codec.params.insert("fidelity_min".into(), 0.0);
    assert_eq!(
        merged(&spec, &floats(&[0.0]), &[weights(&vanishing, 1)]).1.fidelity,
        0.0
    );
    for wrong in [-0.1, 1.1, f64::NAN] {
        spec.codec.params.insert("fidelity_min".into(), wrong);
        assert!(Codec::of(&spec.codec).unwrap_err().problem.contains("0 to 1"));
    }
}

#[test]
fn integers_follow_the_maximum_and_booleans_or() {
    let schema = vec![
        tensor("flag", Dtype::Bool, &[4]),
        tensor("i", Dtype::I64, &[3]),
        tensor("u", Dtype::U8, &[2]),
        tensor("w", Dtype::F32, &[1]),
    ];
    let spec = spec("int8/1", schema);
    let model = |flags: [u8; 4], i: [i64; 3], u: [u8; 2]| {
        let i = i.map(i64::to_le_bytes).concat();
        file(&spec, &[flags.to_vec(), i, u.to_vec(), vec![0; 4]])
    };
    let base = model([0, 1, 0, 1], [10, -5, 7], [250, 0]);
    let full = model([0, 0, 1, 0], [11, i64::MIN, i64::MAX], [255, 1]);
    // A delta is first added to the base, wrapping (250 + 10 = 4); for booleans by "exclusive or".
    let diff = model([0, 1, 0, 0], [2, -1, 0], [10, 0]);
    let a = merged(&spec, &base, &[weights(&full, 1), delta(&diff, 1_000_000)]).0;
    let (in_a, floats_at) = (a.clone(), 4 + 24 + 2);
    assert_eq!(
        in_a[..floats_at],
        model([0, 0, 1, 1], [12, -6, i64::MAX], [255, 1])[base.len() - 34..base.len() - 4]
    );
    let b = merged(
        &spec,
        &base,
        &[weights(&model([1, 0, 0, 0], [i64::MIN, 3, 9], [0, 9]), 1)],
    )
    .0;
    // A late contribution has larger values, but they do not count.
    let late = merged(&spec, &base, &[weights(&model([1; 4], [i64::MAX; 3], [255; 2]), 1)]).0;
    let result = aggregated(&spec, &base, &[(a, 1, 0), (b, 1 << 40, 0), (late, 1, 1)]);
    assert_eq!(result, model([1, 0, 1, 1], [12, 3, i64::MAX], [255, 9]));
}

#[test]
fn fidelity_is_of_the_whole_update() {
    let mut spec = spec(
        "bf16/1",
        vec![tensor("a", Dtype::F32, &[1]), tensor("b", Dtype::F32, &[1])],
    );
    spec.codec.params.insert("fidelity_min".into(), 0.0);
    let model = |a: f32, b: f32| file(&spec, &[a.to_le_bytes().to_vec(), b.to_le_bytes().to_vec()]);
    let base = model(0.0, 0.0);
    let fidelity = |a, b| merged(&spec, &base, &[weights(&model(a, b), 1)]).1.fidelity;
    assert_eq!(fidelity(0.0, 0.0), 1.0);
    assert_eq!(fidelity(1.5, -2.0), 1.0);
    // The smallest f32 is coded to zero.
    assert_eq!(fidelity(f32::from_bits(1), 0.0), 0.0);
    // 1 + 2^-8 becomes 1.
    let x = 1.0 + 2f64.powi(-8);
    let expected = 1.0 - 2f64.powi(-16) / (x * x + 1.0);
    assert!((f64::from(fidelity(x as f32, 1.0)) - expected).abs() < 1e-7);
}

#[test]
fn what_is_off_the_spec_is_refused_by_name() {
    let spec = plain("int8/1", 300);
    let bad = |error: Result<(), TensorError>, names: &[&str]| {
        let error = error.expect_err("taken").to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    };
    let good = vec![0; 308];
    check(&spec, &good).unwrap();
    for length in [0, 307, 309] {
        let found = format!("308 bytes expected for this model's 1 tensors coded with int8/1, {length} found");
        bad(check(&spec, &vec![0; length]), &[&found]);
    }
    let mut code = good.clone();
    code[260 + 4 + 7] = 0x80;
    bad(check(&spec, &code), &["tensor \"w\": element 263 is coded as -128"]);
    let mut scale = good.clone();
    scale[260..264].copy_from_slice(&f32::INFINITY.to_le_bytes());
    bad(check(&spec, &scale), &["tensor \"w\": element 256", "scale inf"]);

    let base = floats(&[0.0; 300]);
    let run = |spec: &Spec, base: &[u8], update: &Vec<u8>, samples: u64| {
        let fresh = [Weighted {
            update,
            author: NodeId([1; 32]),
            samples,
            staleness: 0,
            figures: Figures::default(),
        }];
        aggregate(spec, parent(&base), &fresh, &[], Outputs::of_weights(&mut Vec::new())).map(|_| ())
    };
    run(&spec, &base, &good, 1).unwrap();
    bad(run(&spec, &base, &good, 0), &["samples", "at least 1"]);
    bad(
        aggregate(&spec, parent(&base), &[], &[], Outputs::of_weights(&mut Vec::new())).map(|_| ()),
        &["0 fresh contributions"],
    );
    bad(run(&spec, &base[1..], &good, 1), &["base weights", "canonical"]);
    bad(run(&spec, &floats(&[0.0; 299]), &good, 1), &["base weights"]);
    bad(run(&spec, &base, &good[1..].to_vec(), 1), &["308 bytes expected"]);
    let unknown = Spec {
        strategy: Rule::new("krum/1"),
        ..spec.clone()
    };
    bad(run(&unknown, &base, &good, 1), &["strategy", "\"krum/1\""]);
    let unknown = Spec {
        codec: Rule::new("zip/1"),
        ..spec.clone()
    };
    bad(check(&unknown, &good), &["codec", "\"zip/1\""]);

    let merge = |parts: &[Part<'_>]| merge_and_encode(&spec, &base, parts, &mut Vec::new()).map(|_| ());
    bad(merge(&[]), &["0 submissions"]);
    bad(merge(&[weights(&base, 0)]), &["at least 1"]);
    bad(
        merge(&[weights(&floats(&[0.0; 3]), 1)]),
        &["tensor \"w\"", "shape [300] expected, [3] found"],
    );
    let mut values = [0.0; 300];
    values[9] = f32::NAN;
    bad(merge(&[weights(&floats(&values), 1)]), &["not finite"]);
}

#[test]
fn booleans_from_a_peer_are_0_or_1_and_every_dtype_is_finite() {
    for (dtype, bytes, problem) in [
        (Dtype::Bool, vec![0, 1, 2], "element 2 is 2"),
        (
            Dtype::F64,
            [1.0, f64::NAN].map(f64::to_le_bytes).concat(),
            "element 1 is NaN",
        ),
        (Dtype::F16, vec![0, 0, 0, 0xfc], "element 1 is infinite"),
    ] {
        let shape = [(bytes.len() / dtype.bytes()) as u64];
        let error = check(&spec("none/1", vec![tensor("t", dtype, &shape)]), &bytes)
            .unwrap_err()
            .to_string();
        assert!(error.contains("tensor \"t\"") && error.contains(problem), "{error}");
    }
}

#[test]
fn sample_sums_are_capped() {
    let spec = plain("bf16/1", 1);
    let base = floats(&[0.0]);
    let one = floats(&[1.0]);
    let (_, coded) = merged(&spec, &base, &[weights(&one, u64::MAX), weights(&one, u64::MAX)]);
    assert_eq!(coded.samples, crate::record::SAMPLES_MAX);
}
