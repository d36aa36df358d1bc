//! The aggregation and codec kernels against the speed of memory: `cargo bench -p qres-fed`.
//!
//! Every figure is the best of a few runs; each is also given as a ratio to one parallel read of the same bytes, measured in the
//! same run on the same threads. The goal is the first line: FedAvg of 20 × 10 million f32 within 1.3 × of that read.

use std::time::Instant;

use qres_fed::id::{BlobId, NodeId};
use qres_fed::record::{Dtype, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::tensor::{Layout, check_weights};
use qres_fed::update::{Part, Weighted, aggregate, check, merge_and_encode};
use rayon::prelude::*;

const ELEMENTS: usize = 10_000_000;
const CLIENTS: usize = 20;
const RUNS: usize = 7;

fn main() {
    // `cargo test --all-targets` starts benches too, without this argument.
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("a benchmark: run it with cargo bench");
        return;
    }
    println!(
        "{CLIENTS} clients, {ELEMENTS} f32 parameters, {} threads, best of {RUNS}",
        rayon::current_num_threads()
    );
    println!("{:<44} {:>9} {:>9} {:>9} {:>8}", "", "ms", "GB", "GB/s", "x read");
    fedavg();
    for codec in ["none/1", "bf16/1", "int8/1"] {
        way(codec);
    }
}

/// FedAvg of f32 updates in memory.
fn fedavg() {
    let spec = spec("none/1");
    let base = model(0);
    let updates: Vec<Vec<u8>> = (1..=CLIENTS as u32).map(floats).collect();
    let slices: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
    let read = best(|| read_all(&slices));
    report("one read of 20 updates", read, slices.len() * slices[0].len(), read);
    let mut out = model(0);
    let fresh = weighted(&updates);
    let took = best(|| aggregate(&spec, &base, &fresh, &[], &mut &mut out[..]).expect("aggregates"));
    report(
        "FedAvg of 20 x 10 M f32 in memory",
        took,
        slices.len() * slices[0].len(),
        read,
    );
}

/// One submission coded, checked, and three of them aggregated: what a node does in a round.
fn way(codec: &str) {
    let spec = spec(codec);
    let (base, weights) = (model(0), model(1));
    let read = best(|| read_all(&[&weights]));
    let bytes = weights.len();
    let took = best(|| check_weights(&spec.tensors, &weights).expect("finite"));
    report(&format!("{codec} check of a submission"), took, bytes, read);

    let mut coded = Vec::new();
    let part = [Part {
        file: &weights,
        samples: 1,
        delta: false,
    }];
    let took = best(|| {
        coded.clear();
        merge_and_encode(&spec, &base, &part, &mut coded).expect("codes")
    });
    report(&format!("{codec} merge and encode, f32 bytes"), took, bytes, read);

    let read = best(|| read_all(&[&coded]));
    let took = best(|| check(&spec, &coded).expect("is an update"));
    report(
        &format!("{codec} check of an update, coded bytes"),
        took,
        coded.len(),
        read,
    );

    let updates = vec![coded; 4];
    let fresh = weighted(&updates);
    let slices: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
    let read = best(|| read_all(&slices));
    let mut out = model(0);
    let took = best(|| aggregate(&spec, &base, &fresh, &[], &mut &mut out[..]).expect("aggregates"));
    report(
        &format!("{codec} aggregate of 4, coded bytes"),
        took,
        4 * slices[0].len(),
        read,
    );
}

fn report(what: &str, seconds: f64, bytes: usize, read: f64) {
    let gigabytes = bytes as f64 / 1e9;
    println!(
        "{what:<44} {:>9.2} {gigabytes:>9.3} {:>9.1} {:>8.2}",
        seconds * 1e3,
        gigabytes / seconds,
        seconds / read
    );
}

fn best<T>(mut run: impl FnMut() -> T) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(run());
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// One read of all bytes on all threads: a sum of them as words, in lanes that the processor can follow in parallel.
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

/// Pseudo-random f32 in -1..1, different for each seed.
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
        }],
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
