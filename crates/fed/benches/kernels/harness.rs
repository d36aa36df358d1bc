//! What the benchmarks share: times, a read of the same bytes for comparison, and models of random numbers.

use std::time::Instant;

use qres_fed::id::{BlobId, CheckpointId, NodeId};
use qres_fed::record::{Dtype, End, Figures, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::tensor::{Layout, Source};
use qres_fed::update::{Parent, Weighted};
use rayon::prelude::*;

/// Runs of each function, of which the best counts.
pub const RUNS: usize = 15;

pub fn report(what: &str, bytes: usize, (read, took): (f64, f64)) {
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
pub fn best<A, B>(mut read: impl FnMut() -> A, mut run: impl FnMut() -> B) -> (f64, f64) {
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
pub fn read_all(updates: &[&[u8]]) -> u64 {
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
pub fn read_floats(updates: &[&[f32]]) -> u64 {
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

pub fn parent(weights: &dyn Source) -> Parent<'_> {
    Parent {
        id: CheckpointId([0; 32]),
        weights,
        optimiser: None,
    }
}

pub fn weighted(updates: &[Vec<u8>]) -> Vec<Weighted<'_>> {
    updates
        .iter()
        .zip(1u8..)
        .map(|(update, author)| Weighted {
            update,
            author: NodeId([author; 32]),
            samples: u64::from(author),
            staleness: 0,
            figures: Figures::default(),
        })
        .collect()
}

/// Makes pseudo-random f32 in -1..1, different for each seed.
pub fn floats(seed: u32, elements: usize) -> Vec<u8> {
    let value = |i: u32| {
        let hash = (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35) as i32 as f32 / 2_147_483_648.0
    };
    (0..elements as u32).flat_map(|i| value(i).to_le_bytes()).collect()
}

/// Makes a model of pseudo-random f32 with the standard normal distribution (Box and Muller 1958).
pub fn gaussian(seed: u32, elements: usize) -> Vec<u8> {
    let layout = Layout::of(&spec("none/1", elements).tensors);
    let uniform = floats(seed, 2 * elements);
    let pairs = uniform.as_chunks::<8>().0.iter().map(|pair| {
        let [u, v] = [&pair[..4], &pair[4..]].map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let radius = (-2.0 * f64::from(u.abs()).max(1e-10).ln()).sqrt();
        (radius * (std::f64::consts::PI * f64::from(v)).cos()) as f32
    });
    layout
        .header()
        .iter()
        .copied()
        .chain(pairs.flat_map(f32::to_le_bytes))
        .collect()
}

pub fn model(seed: u32, elements: usize) -> Vec<u8> {
    let layout = Layout::of(&spec("none/1", elements).tensors);
    [layout.header(), &floats(seed, elements)].concat()
}

pub fn spec(codec: &str, elements: usize) -> Spec {
    Spec {
        name: "bench".parse().expect("a name"),
        tensors: vec![TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![elements as u64],
        }]
        .into(),
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
