//! Codecs on a Gaussian update: their bits against the bound of the rate-distortion function, and their speed on one thread
//! against one read of the weights.

use qres_fed::update::{Outputs, Part, aggregate, check, merge_and_encode};

use crate::harness::{best, gaussian, model, parent, read_all, report, spec, weighted};

const ELEMENTS: usize = 10_000_000;

/// Measures each codec.
pub fn run() {
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    let weights = gaussian(1, ELEMENTS);
    let base = {
        let mut zeros = model(0, ELEMENTS);
        let header = zeros.len() - 4 * ELEMENTS;
        zeros[header..].fill(0);
        zeros
    };
    for codec in ["none/1", "bf16/1", "f16/1", "int8/1", "tcq/1"] {
        single.install(|| one(codec, &base, &weights));
    }
    for (name, x) in sources(1_000_000) {
        bits_of(name, &x);
    }
}

/// Updates of other distributions.
fn sources(n: usize) -> Vec<(&'static str, Vec<f64>)> {
    let file = gaussian(2, 7 * n);
    let header = file.len() - 28 * n;
    let number = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
    let normal: Vec<f64> = file[header..].as_chunks().0.iter().map(number).collect();
    let student = |freedom: usize| -> Vec<f64> {
        let squares = |i: usize| (1..=freedom).map(|k| normal[7 * i + k].powi(2)).sum::<f64>();
        (0..n)
            .map(|i| normal[7 * i] / (squares(i) / freedom as f64).sqrt())
            .collect()
    };
    let size = |i: usize| (0.7 * normal[n + i / 256]).exp();
    // The square of two normal numbers is exponential.
    let laplace = |i: usize| (normal[i].powi(2) + normal[n + i].powi(2)) * normal[2 * n + i].signum();
    let sparse = |i: usize| if normal[n + i] > 2.054 { normal[i] } else { 0.0 };
    vec![
        ("Gaussian", normal[..n].to_vec()),
        ("t with 5 degrees of freedom", student(5)),
        ("t with 3 degrees of freedom", student(3)),
        ("Laplace", (0..n).map(laplace).collect()),
        (
            "Gaussian blocks of log-normal sizes",
            (0..n).map(|i| normal[i] * size(i)).collect(),
        ),
        ("2 % Gaussian, the others 0", (0..n).map(sparse).collect()),
    ]
}

/// Prints the bits of an update that is coded with `tcq/1`.
fn bits_of(name: &str, x: &[f64]) {
    let mut weights = model(0, x.len());
    let header = weights.len() - 4 * x.len();
    let mut base = weights.clone();
    base[header..].fill(0);
    for (bytes, x) in weights[header..].as_chunks_mut().0.iter_mut().zip(x) {
        *bytes = (*x as f32).to_le_bytes();
    }
    let part = Part {
        file: &weights,
        samples: 1,
        delta: false,
        steps: None,
    };
    let coded = merge_and_encode(&spec("tcq/1", x.len()), &base, &[part], &mut std::io::sink()).expect("codes");
    let bits = coded.bytes as f64 * 8.0 / x.len() as f64;
    println!("tcq/1, {name}: {bits:.3} bits a weight, fidelity {:.6}", coded.fidelity);
}

fn one(codec: &str, base: &[u8], weights: &[u8]) {
    let spec = spec(codec, ELEMENTS);
    let part = [Part {
        file: &weights,
        samples: 1,
        delta: false,
        steps: None,
    }];
    let (mut coded, mut fidelity) = (Vec::new(), 0.0);
    let took = best(
        || read_all(&[weights]),
        || {
            coded.clear();
            fidelity = merge_and_encode(&spec, &base, &part, &mut coded)
                .expect("codes")
                .fidelity;
        },
    );
    let bits = coded.len() as f64 * 8.0 / ELEMENTS as f64;
    let bound = -0.5 * (1.0 - f64::from(fidelity)).log2();
    println!(
        "{codec} of a Gaussian, one thread: {bits:.4} bits a weight, fidelity {fidelity:.7} (bound {bound:.4} bits)"
    );
    report("  merge and encode, f32 bytes", 4 * ELEMENTS, took);
    let took = best(|| read_all(&[weights]), || check(&spec, &coded).expect("is an update"));
    report("  check, f32 bytes", 4 * ELEMENTS, took);
    let updates = vec![coded; 4];
    let fresh = weighted(&updates);
    let mut out = base.to_vec();
    let took = best(
        || read_all(&[weights, weights, weights, weights]),
        || {
            aggregate(
                &spec,
                parent(&base),
                &fresh,
                &[],
                Outputs::of_weights(&mut &mut out[..]),
            )
            .expect("aggregates")
        },
    );
    report("  mean of 4, f32 bytes", 16 * ELEMENTS, took);
}
