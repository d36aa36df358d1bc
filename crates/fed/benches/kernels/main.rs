//! Benchmarks of the aggregation and codec kernels against the speed of memory: `cargo bench -p qres-fed`. With a part of a
//! name (`cargo bench -p qres-fed -- median`) only the cases with it are run.
//!
//! Every figure is the best of a few runs. Each is also given as a ratio to one parallel read of the same bytes, measured
//! in the same run on the same threads. The goal is for the first line: FedAvg of 20 × 10 million f32 within 1.3 × of that
//! read.

mod codecs;
mod harness;
mod rules;

use qres_fed::tensor::check_weights;
use qres_fed::update::{Outputs, Part, aggregate, average, check, merge_and_encode};

use harness::{RUNS, best, floats, model, parent, read_all, read_floats, report, spec, weighted};

const ELEMENTS: usize = 10_000_000;
const CLIENTS: usize = 20;

fn main() {
    // `cargo test --all-targets` also starts benches, but without this argument.
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("a benchmark: run it with cargo bench");
        return;
    }
    println!(
        "{CLIENTS} clients, {ELEMENTS} f32 parameters, {} threads, best of {RUNS}",
        rayon::current_num_threads()
    );
    println!(
        "{:<44} {:>9} {:>9} {:>7} {:>7} {:>7}",
        "", "read ms", "ms", "GB", "GB/s", "x read"
    );
    let part = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let part = part.unwrap_or_default();
    if "FedAvg".contains(&part) {
        fedavg();
    }
    for codec in ["none/1", "bf16/1", "f16/1", "int8/1", "tcq/1"]
        .into_iter()
        .filter(|codec| codec.contains(&part))
    {
        way(codec);
    }
    if "codecs".contains(&part) {
        codecs::run();
    }
    rules::run(&part);
}

/// Measures FedAvg of f32 slices in memory ([`average`]), and of the same numbers as coded updates to a canonical file
/// ([`aggregate`]).
fn fedavg() {
    let floats_of = |seed| -> Vec<f32> {
        let bytes = floats(seed, ELEMENTS);
        bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    };
    let updates: Vec<Vec<f32>> = (1..=CLIENTS as u32).map(floats_of).collect();
    let parts: Vec<(&[f32], u64)> = updates.iter().map(Vec::as_slice).zip(1..).collect();
    let (base, mut out) = (floats_of(0), floats_of(0));
    let slices: Vec<&[f32]> = updates.iter().map(Vec::as_slice).collect();
    let took = best(|| read_floats(&slices), || average(&base, &parts, &mut out));
    report("FedAvg of 20 x 10 M f32 in memory", CLIENTS * ELEMENTS * 4, took);
    drop(updates);

    let spec = spec("none/1", ELEMENTS);
    let base = model(0, ELEMENTS);
    let updates: Vec<Vec<u8>> = (1..=CLIENTS as u32).map(|seed| floats(seed, ELEMENTS)).collect();
    let slices: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
    let mut out = model(0, ELEMENTS);
    let fresh = weighted(&updates);
    let took = best(
        || read_all(&slices),
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
    report("the same, none/1 updates to a file", CLIENTS * ELEMENTS * 4, took);
}

/// Measures a node's work in a round: a submission is checked and coded, the update is checked, and four updates are
/// aggregated.
fn way(codec: &str) {
    let spec = spec(codec, ELEMENTS);
    let (base, weights) = (model(0, ELEMENTS), model(1, ELEMENTS));
    let took = best(
        || read_all(&[&weights]),
        || check_weights(&spec.tensors, &weights).expect("finite"),
    );
    report(&format!("{codec} check of a submission"), weights.len(), took);

    let mut coded = Vec::new();
    let part = [Part {
        file: &weights,
        samples: 1,
        delta: false,
        steps: None,
    }];
    let took = best(
        || read_all(&[&weights]),
        || {
            coded.clear();
            merge_and_encode(&spec, &base, &part, &mut coded).expect("codes")
        },
    );
    report(&format!("{codec} merge and encode, f32 bytes"), weights.len(), took);

    let took = best(|| read_all(&[&coded]), || check(&spec, &coded).expect("is an update"));
    report(&format!("{codec} check of an update, coded bytes"), coded.len(), took);

    let updates = vec![coded; 4];
    let fresh = weighted(&updates);
    let slices: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
    let mut out = model(0, ELEMENTS);
    let took = best(
        || read_all(&slices),
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
    report(
        &format!("{codec} aggregate of 4, coded bytes"),
        4 * slices[0].len(),
        took,
    );
}
