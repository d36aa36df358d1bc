//! Tests of the Gaussian mechanism. Keys are fixed, so that every run draws the same noise.

use super::*;

const ELEMENTS: usize = 100_000;

/// A model with noise of the standard deviation `clip * multiplier`.
fn noisy(codec: &str, dtype: Dtype, (clip, multiplier): (f64, f64)) -> Spec {
    let mut spec = spec(codec, vec![tensor("w", dtype, &[ELEMENTS as u64])]);
    spec.privacy = Rule {
        id: "gaussian/1".into(),
        params: [("clip".to_owned(), clip), ("noise_multiplier".to_owned(), multiplier)].into(),
    };
    spec
}

fn privately(spec: &Spec, base: &[u8], part: &[u8], key: u8) -> (Vec<u8>, Coded) {
    let mut out = Vec::new();
    let key = NoiseKey::new([key; 32]);
    let coded = merge_and_encode_privately(spec, &base, &[weights(&part, 50)], key, &mut out).unwrap();
    check(spec, &out).unwrap();
    (out, coded)
}

/// Returns the update that receivers make of the coded one: aggregated alone on a base of zeros.
fn received(spec: &Spec, update: Vec<u8>) -> Vec<f64> {
    let zeros = file(spec, &[vec![0; ELEMENTS * spec.tensors[0].dtype.bytes()]]);
    let next = aggregated(spec, &zeros, &[(update, 1, 0)]);
    let data = &next[Layout::of(&spec.tensors).header().len()..];
    match spec.tensors[0].dtype {
        Dtype::F64 => data.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x)).collect(),
        _ => data
            .as_chunks()
            .0
            .iter()
            .map(|x| f64::from(f32::from_le_bytes(*x)))
            .collect(),
    }
}

fn length(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[test]
fn noise_is_normal_and_has_the_deviation_that_the_model_asks_for() {
    let spec = noisy("none/1", Dtype::F32, (4.0, 0.5));
    let zeros = floats(&[0.0; ELEMENTS]);
    let (update, coded) = privately(&spec, &zeros, &zeros, 1);
    assert_eq!(
        (coded.samples, coded.fidelity),
        (1, 1.0),
        "samples would say how much data there is"
    );
    let noise = received(&spec, update);
    let mean = noise.iter().sum::<f64>() / ELEMENTS as f64;
    // Five standard errors.
    assert!(mean.abs() < 5.0 * 2.0 / (ELEMENTS as f64).sqrt(), "{mean}");
    let deviation = length(&noise) / (ELEMENTS as f64).sqrt();
    assert!((deviation / 2.0 - 1.0).abs() < 0.01, "{deviation}");
    // Shares of a normal distribution beyond one, two, three and four standard deviations.
    for (beyond, share) in [(1.0, 0.317_311), (2.0, 0.045_500), (3.0, 0.002_700), (4.0, 0.000_063)] {
        let count = noise.iter().filter(|x| x.abs() > 2.0 * beyond).count() as f64;
        let expected = share * ELEMENTS as f64;
        assert!(
            (count - expected).abs() < 5.0 * expected.sqrt(),
            "{count} of {expected} beyond {beyond}"
        );
    }
}

#[test]
fn an_update_is_shortened_before_it_gets_noise() {
    // Noise of a millionth of the length hardly shows.
    let spec = noisy("none/1", Dtype::F32, (3.0, 1e-6));
    let zeros = floats(&[0.0; ELEMENTS]);
    let long = received(&spec, privately(&spec, &zeros, &floats(&[7.0; ELEMENTS]), 1).0);
    assert!((length(&long) - 3.0).abs() < 1e-4, "{}", length(&long));
    assert!(length(&long) < 3.0 + 1e-6 * 3.0 * (ELEMENTS as f64).sqrt());
    let short = vec![0.005; ELEMENTS];
    let sent = received(&spec, privately(&spec, &zeros, &floats(&short), 1).0);
    assert!(
        sent.iter().all(|x| (x - 0.005).abs() < 1e-4),
        "shorter updates keep their length"
    );
}

#[test]
fn every_codec_sends_the_same_noise_for_a_key_and_other_noise_for_another() {
    let zeros = floats(&[0.0; ELEMENTS]);
    let exact = noisy("none/1", Dtype::F32, (1.0, 1.0));
    let noise = received(&exact, privately(&exact, &zeros, &zeros, 1).0);
    for codec in ["bf16/1", "f16/1", "int8/1", "tcq/1"] {
        let spec = noisy(codec, Dtype::F32, (1.0, 1.0));
        let (update, coded) = privately(&spec, &zeros, &zeros, 1);
        assert!(coded.fidelity >= 0.99, "{codec}: {}", coded.fidelity);
        let error: Vec<f64> = received(&spec, update).iter().zip(&noise).map(|(x, y)| x - y).collect();
        assert!(length(&error) < 0.11 * length(&noise), "{codec}: {}", length(&error));
    }
    let other = received(&exact, privately(&exact, &zeros, &zeros, 2).0);
    let product: f64 = noise.iter().zip(&other).map(|(x, y)| x * y).sum();
    assert!(product.abs() < 5.0 * (ELEMENTS as f64).sqrt(), "{product}");
    let (first, second) = noise.split_at(1 << 14);
    let product: f64 = first.iter().zip(second).map(|(x, y)| x * y).sum();
    assert!(product.abs() < 5.0 * 128.0, "two batches have one noise: {product}");
}

#[test]
fn each_tensor_has_noise_of_its_own() {
    let mut spec = noisy("none/1", Dtype::F32, (1.0, 1.0));
    spec.tensors = ["a", "b"].map(|name| tensor(name, Dtype::F32, &[1000])).to_vec().into();
    let zeros = file(&spec, &[vec![0; 8000]]);
    let (update, _) = privately(&spec, &zeros, &zeros, 1);
    let (a, b) = update.split_at(4000);
    let same = a.chunks(4).zip(b.chunks(4)).filter(|(a, b)| a == b).count();
    assert_eq!(same, 0);
}

/// A difference that no f16 holds is shortened, not refused: silence would say something about the data.
#[test]
fn an_update_beyond_its_format_is_shortened() {
    let mut spec = noisy("none/1", Dtype::F16, (3.0, 1e-6));
    spec.tensors = vec![tensor("w", Dtype::F16, &[2])].into();
    let halves = |x: f32| half::f16::from_f32(x).to_le_bytes().repeat(2);
    let (base, far) = (file(&spec, &[halves(-60_000.0)]), file(&spec, &[halves(60_000.0)]));
    let (update, _) = privately(&spec, &base, &far, 1);
    let sent: Vec<f32> = update
        .as_chunks()
        .0
        .iter()
        .map(|x| half::f16::from_le_bytes(*x).to_f32())
        .collect();
    assert!(sent.iter().all(|x| (x - 3.0 / 2f32.sqrt()).abs() < 0.01), "{sent:?}");
}

#[test]
fn the_sum_lies_on_a_grid_so_that_its_last_bits_say_nothing() {
    let spec = noisy("none/1", Dtype::F64, (1.0, 1.0));
    let data = |x: f64| file(&spec, &[x.to_le_bytes().repeat(ELEMENTS)]);
    let (update, _) = privately(&spec, &data(0.0), &data(1.0 / 3.0 / ELEMENTS as f64), 1);
    let grid = 2f64.powi(-20);
    assert!(received(&spec, update).iter().all(|x| (x / grid).fract() == 0.0));
}

#[test]
fn integers_stay_those_of_the_base_because_they_can_have_no_noise() {
    let mut spec = noisy("bf16/1", Dtype::F32, (1.0, 1.0));
    spec.tensors = vec![tensor("b", Dtype::Bool, &[2]), tensor("n", Dtype::I64, &[1])].into();
    let base = file(&spec, &[vec![0, 1], 7i64.to_le_bytes().to_vec()]);
    let counted = file(&spec, &[vec![1, 1], 9i64.to_le_bytes().to_vec()]);
    let (update, _) = privately(&spec, &base, &counted, 1);
    assert_eq!(aggregated(&spec, &base, &[(update, 1, 0)]), base);
}

#[test]
fn an_update_is_never_coded_without_the_noise_of_its_model() {
    let mut spec = noisy("bf16/1", Dtype::F32, (1.0, 1.0));
    let zeros = floats(&[0.0; ELEMENTS]);
    let plain = merge_and_encode(&spec, &zeros, &[weights(&zeros, 1)], &mut Vec::new());
    assert!(plain.unwrap_err().to_string().contains("need noise"));
    encode_zeros(&spec, &zeros, &mut Vec::new()).expect("a vote says nothing about data");
    spec.privacy = Rule::new("none/1");
    let key = NoiseKey::new([1; 32]);
    assert!(merge_and_encode_privately(&spec, &zeros, &[weights(&zeros, 1)], key, &mut Vec::new()).is_err());
}
