//! Benchmarks of the aggregation and codec kernels against the speed of memory: `cargo bench -p qres-fed`.
//!
//! Every figure is the best of a few runs. Each is also given as a ratio to one parallel read of the same bytes, measured
//! in the same run on the same threads. The goal is for the first line: FedAvg of 20 × 10 million f32 within 1.3 × of that
//! read.

use std::time::Instant;

use qres_fed::id::{BlobId, NodeId};
use qres_fed::record::{Dtype, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::tensor::{Layout, check_weights};
use qres_fed::update::{Part, Weighted, aggregate, average, check, merge_and_encode};
use rayon::prelude::*;

const ELEMENTS: usize = 10_000_000;
const CLIENTS: usize = 20;
const RUNS: usize = 15;

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
    fedavg();
    for codec in ["none/1", "bf16/1", "int8/1"] {
        way(codec);
    }
}

/// Measures FedAvg of f32 slices in memory ([`average`]), and of the same numbers as coded updates to a canonical file
/// ([`aggregate`]).
fn fedavg() {
    let floats_of = |seed| -> Vec<f32> {
        let bytes = floats(seed);
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

    let spec = spec("none/1");
    let base = model(0);
    let updates: Vec<Vec<u8>> = (1..=CLIENTS as u32).map(floats).collect();
    let slices: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
    let mut out = model(0);
    let fresh = weighted(&updates);
    let took = best(
        || read_all(&slices),
        || aggregate(&spec, &base, &fresh, &[], &mut &mut out[..]).expect("aggregates"),
    );
    report("the same, none/1 updates to a file", CLIENTS * ELEMENTS * 4, took);
}

/// Measures a node's work in a round: a submission is checked and coded, the update is checked, and four updates are
/// aggregated.
fn way(codec: &str) {
    let spec = spec(codec);
    let (base, weights) = (model(0), model(1));
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
    let mut out = model(0);
    let took = best(
        || read_all(&slices),
        || aggregate(&spec, &base, &fresh, &[], &mut &mut out[..]).expect("aggregates"),
    );
    report(
        &format!("{codec} aggregate of 4, coded bytes"),
        4 * slices[0].len(),
        took,
    );
}

fn report(what: &str, bytes: usize, (read, took): (f64, f64)) {
    let gigabytes = bytes as f64 / 1e9;
    println!(
        "{what:<44} {:>9.2} {:>9.2} {gigabytes:>7.3} {:>7.1} {:>7.2}",
        read * 1e3,
        took * 1e3,
        gigabytes / took,
        took / read
    );
}

/// Returns the shortest time of [`RUNS`] runs of each function, in seconds. The runs alternate, so that other work of the
/// machine affects both.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures the time of the wall")]
fn best<A, B>(mut read: impl FnMut() -> A, mut run: impl FnMut() -> B) -> (f64, f64) {
    fn seconds<T>(run: impl FnOnce() -> T) -> f64 {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed().as_secs_f64()
    }
    (0..RUNS).fold((f64::INFINITY, f64::INFINITY), |(a, b), _| {
        (a.min(seconds(&mut read)), b.min(seconds(&mut run)))
    })
}

/// Reads all bytes once on all threads: sums them as words, in lanes that the processor can work on in parallel.
fn read_all(updates: &[&[u8]]) -> u64 {
    let read = |chunk: &[u8]| {
        let mut lanes = [0u64; 16];
        for words in chunk.as_chunks::<128>().0 {
            for (lane, word) in lanes.iter_mut().zip(words.as_chunks::<8>().0) {
                *lane = lane.wrapping_add(u64::from_le_bytes(*word));
            }
        }
        lanes.iter().fold(0, |sum: u64, lane| sum.wrapping_add(*lane))
    };
    updates
        .par_iter()
        .flat_map(|update| update.par_chunks(1 << 20))
        .map(read)
        .reduce(|| 0, u64::wrapping_add)
}

/// Reads all floats once on all threads, as [`read_all`] does with bytes.
fn read_floats(updates: &[&[f32]]) -> u64 {
    let read = |chunk: &[f32]| {
        let mut lanes = [0u32; 32];
        for words in chunk.as_chunks::<32>().0 {
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = lane.wrapping_add(word.to_bits());
            }
        }
        lanes
            .iter()
            .fold(0, |sum: u64, lane| sum.wrapping_add(u64::from(*lane)))
    };
    updates
        .par_iter()
        .flat_map(|update| update.par_chunks(1 << 18))
        .map(read)
        .reduce(|| 0, u64::wrapping_add)
}

fn weighted(updates: &[Vec<u8>]) -> Vec<Weighted<'_>> {
    updates
        .iter()
        .zip(1..)
        .map(|(update, samples)| Weighted {
            update,
            samples,
            staleness: 0,
        })
        .collect()
}

/// Makes pseudo-random f32 in -1..1, different for each seed.
fn floats(seed: u32) -> Vec<u8> {
    let value = |i: u32| {
        let hash = (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35) as i32 as f32 / 2_147_483_648.0
    };
    (0..ELEMENTS as u32).flat_map(|i| value(i).to_le_bytes()).collect()
}

fn model(seed: u32) -> Vec<u8> {
    let layout = Layout::of(&spec("none/1").tensors);
    [layout.header(), &floats(seed)].concat()
}

fn spec(codec: &str) -> Spec {
    Spec {
        name: "bench".parse().expect("a name"),
        tensors: vec![TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![ELEMENTS as u64],
        }]
        .into(),
        strategy: Rule::new("fedavg/1"),
        rounds: RoundPolicy::default(),
        codec: Rule::new(codec),
        privacy: Rule::new("none/1"),
        membership: Membership::List([NodeId([1; 32])].into()),
        checkpoint0: BlobId([0; 32]),
        creator: NodeId([1; 32]),
        succeeds: None,
    }
}
