//! Properties of the whole path of an update: every dtype and shape, against a naive implementation, on any number of
//! threads.

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::codec::{Codec, block, float};

const CODECS: [&str; 5] = ["none/1", "bf16/1", "f16/1", "int8/1", "tcq/1"];

/// An update, its number of samples, and its staleness in rounds.
type Update = (Vec<u8>, u64, u32);

/// A source that lends no bytes, like a blob's file: the kernels must read it.
struct OnDisk<'a>(&'a [u8]);

impl Source for OnDisk<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        // No read is longer than a batch of eight-byte elements, however long the tensor: memory is a constant.
        assert!(
            into.len() <= batch::BATCH_ELEMENTS * 8,
            "{} bytes read at once",
            into.len()
        );
        self.0.read_at(offset, into)
    }
}

/// Makes a schema of every dtype, a scalar, empty tensors, tensors of many batches, and lengths at and around the edges of
/// a batch and of a codec's block.
fn every_kind() -> Vec<TensorSpec> {
    use Dtype::*;
    let long = batch::BATCH_ELEMENTS as u64;
    let mut schema = vec![
        tensor("a.empty", F32, &[0]),
        tensor("b.empty", Bf16, &[3, 0, u64::MAX]),
        tensor("c.scalar", F32, &[]),
        tensor("d.long", F32, &[3, long + 1]),
        tensor("e.exact", F32, &[long]),
        tensor("f.empty", I64, &[0]),
        tensor("g.counter", I64, &[]),
        tensor("h.block", F32, &[256]),
        tensor("i.block", F32, &[257]),
    ];
    for (i, dtype) in [F64, F16, Bf16, I64, I32, I16, I8, U64, U32, U16, U8, Bool]
        .into_iter()
        .enumerate()
    {
        schema.push(tensor(
            &format!("j{:02}.{}", i, dtype.name()),
            dtype,
            &[2, 300 + i as u64],
        ));
    }
    schema
}

/// Makes a model of random bytes of each dtype. Its floats are finite and of ordinary size, with zeros of both signs among
/// them.
fn random_model(spec: &Spec, seed: u64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let data: Vec<Vec<u8>> = spec
        .tensors
        .iter()
        .map(|tensor| {
            let elements = tensor.elements().unwrap() as usize;
            let mut bytes = vec![0; elements * tensor.dtype.bytes()];
            if tensor.dtype.is_float() {
                let values: Vec<f64> = (0..elements)
                    .map(|_| match random.random_range(0..20) {
                        0 => 0.0,
                        1 => -0.0,
                        _ => random.random_range(-2.0..2.0),
                    })
                    .collect();
                float::round(tensor.dtype, &values, &mut bytes);
            } else {
                let limit = if tensor.dtype == Dtype::Bool { 1 } else { 255 };
                bytes.fill_with(|| random.random_range(0..=limit));
            }
            bytes
        })
        .collect();
    file(spec, &data)
}

fn in_pool<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(run)
}

/// Returns the bytes of all batches of an update, one after the other.
pub(super) fn batches_of(spec: &Spec, update: &[u8]) -> Vec<u8> {
    let codec = Codec::of(&spec.codec).unwrap();
    let reader = reader::Reader::open(spec, codec, &update).unwrap();
    let mut all = vec![];
    for batch in batch::Batches::of(&spec.tensors, codec) {
        let (mut buffer, mut inputs) = (vec![], reader::Inputs::default());
        all.extend_from_slice(reader.batch(&batch, &mut buffer, &mut inputs.chunk).unwrap());
    }
    all
}

/// Computes the result as the documentation of [`aggregate`] describes it, tensor by tensor and coordinate by coordinate,
/// without batches or threads.
fn naive(spec: &Spec, base: &[u8], updates: &[Update]) -> Vec<u8> {
    let codec = Codec::of(&spec.codec).unwrap();
    let layout = Layout::of(&spec.tensors);
    let counts: Vec<f64> = updates
        .iter()
        .map(|(_, n, s)| *n as f64 * (1.0 / (1.0 + f64::from(*s)).sqrt()))
        .collect();
    let total = counts.iter().fold(0.0, |sum, n| sum + n);
    let mut out = base.to_vec();
    let mut coded_at = 0;
    let plain: Vec<Vec<u8>> = updates.iter().map(|update| batches_of(spec, &update.0)).collect();
    for (tensor, slot) in spec.tensors.iter().zip(layout.slots()) {
        let (dtype, width) = (tensor.dtype, tensor.dtype.bytes());
        let bytes = codec.tensor_bytes(tensor) as usize;
        let elements = tensor.elements().unwrap() as usize;
        let out = &mut out[slot.offset as usize..][..slot.bytes as usize];
        let mut parts = Vec::new();
        for update in &plain {
            let mut values = vec![0.0; elements];
            if dtype.is_float() {
                block::decode(codec, dtype, &update[coded_at..][..bytes], &mut values);
            }
            parts.push(values);
        }
        for i in 0..elements {
            let element = &mut out[i * width..][..width];
            if dtype.is_float() {
                let mut parent = [-0.0];
                float::accumulate(dtype, &mut parent, element, 1.0);
                let mut sum = 0.0;
                for (values, count) in parts.iter().zip(&counts) {
                    sum += count / total * values[i];
                }
                float::round(dtype, &[parent[0] + sum], element);
            } else {
                let fresh = updates.iter().zip(&plain).filter(|(update, _)| update.2 == 0);
                let largest = fresh.map(|(_, plain)| plain[coded_at..][i * width..][..width].to_vec());
                let signed = matches!(dtype, Dtype::I64 | Dtype::I32 | Dtype::I16 | Dtype::I8);
                element.copy_from_slice(&largest.max_by_key(|bytes| integer_value(bytes, signed)).unwrap());
            }
        }
        coded_at += bytes;
    }
    out
}

fn integer_value(bytes: &[u8], signed: bool) -> i128 {
    let mut wide = [0; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    let shift = 128 - 8 * bytes.len() as u32;
    if signed {
        i128::from_le_bytes(wide) << shift >> shift
    } else {
        i128::from_le_bytes(wide)
    }
}

/// Makes the updates of three nodes; the third is two rounds late.
fn three_updates(spec: &Spec, base: &[u8], seed: u64) -> Vec<Update> {
    (0..3)
        .map(|node| {
            let (a, b) = (
                random_model(spec, seed + 10 * node),
                random_model(spec, seed + 10 * node + 1),
            );
            let (update, coded) = merged(spec, base, &[weights(&a, 3 + node), weights(&b, 700)]);
            assert!(coded.fidelity >= 0.99, "{coded:?}");
            (update, coded.samples, if node == 2 { 2 } else { 0 })
        })
        .collect()
}

#[test]
fn every_kind_of_tensor_survives_the_whole_way_as_documented() {
    for codec in CODECS {
        let spec = spec(codec, every_kind());
        spec.check().unwrap();
        let base = random_model(&spec, 1);
        let updates = three_updates(&spec, &base, 2);
        let result = aggregated(&spec, &base, &updates);
        assert!(
            result == naive(&spec, &base, &updates),
            "{codec} differs from the naive sum"
        );
        assert_ne!(result, base);
    }
}

#[test]
fn threads_and_the_way_of_reading_change_no_bit() {
    for codec in CODECS {
        let spec = spec(codec, every_kind());
        let base = random_model(&spec, 5);
        let model = random_model(&spec, 6);
        let updates = three_updates(&spec, &base, 7);
        let run = || {
            (
                merged(&spec, &base, &[weights(&model, 3)]),
                aggregated(&spec, &base, &updates),
            )
        };
        let expected = in_pool(1, run);
        for threads in [2, 3, 7, 16] {
            assert!(
                in_pool(threads, run) == expected,
                "{codec} differs with {threads} threads"
            );
        }
        let mut out = Vec::new();
        let coded = merge_and_encode(&spec, &OnDisk(&base), &[weights(&OnDisk(&model), 3)], &mut out).unwrap();
        assert!((out, coded) == expected.0, "{codec} differs when read");
        let sources: Vec<_> = updates.iter().map(|update| OnDisk(&update.0)).collect();
        let parts: Vec<_> = sources
            .iter()
            .zip(&updates)
            .zip(0..)
            .map(|((update, (_, samples, staleness)), author)| Weighted {
                update,
                author: NodeId([author; 32]),
                samples: *samples,
                staleness: *staleness,
                figures: Figures::default(),
            })
            .collect();
        parts.iter().for_each(|part| check(&spec, part.update).unwrap());
        let mut out = Vec::new();
        aggregate(
            &spec,
            parent(&OnDisk(&base)),
            &parts[..2],
            &parts[2..],
            Outputs::of_weights(&mut out),
        )
        .unwrap();
        assert!(out == expected.1, "{codec} differs when read");
    }
}

#[test]
fn slices_in_memory_get_the_same_bits() {
    let elements = 3 * batch::BATCH_ELEMENTS + 17;
    let spec = plain("none/1", elements);
    let values = |file: &[u8]| -> Vec<f32> {
        let tensors = crate::tensor::read_safetensors(file).unwrap();
        tensors["w"].array().unwrap().iter().copied().collect()
    };
    let base = random_model(&spec, 1);
    for nodes in [1, 3, 4, 9] {
        let updates: Vec<Update> = (0..nodes)
            .map(|node| {
                (
                    merged(&spec, &base, &[weights(&random_model(&spec, node), 1)]).0,
                    3 + 7 * node,
                    0,
                )
            })
            .collect();
        let floats: Vec<Vec<f32>> = updates
            .iter()
            .map(|(update, _, _)| {
                update
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|b| f32::from_le_bytes(*b))
                    .collect()
            })
            .collect();
        let parts: Vec<_> = floats
            .iter()
            .zip(&updates)
            .map(|(x, update)| (x.as_slice(), update.1))
            .collect();
        let mut out = vec![f32::NAN; elements];
        average(&values(&base), &parts, &mut out);
        assert!(
            super::floats(&out) == aggregated(&spec, &base, &updates),
            "{nodes} nodes"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A node sorts the contributions by id, so the order in which they arrive changes no bit of the result.
    #[test]
    fn the_order_of_arrival_changes_no_bit(seed in any::<u64>(), nodes in 2usize..12, shape in prop::collection::vec(1u64..40, 0..3)) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let spec = spec(CODECS[nodes % 4], vec![tensor("n", Dtype::I32, &[2]), tensor("w", Dtype::F32, &shape)]);
        let base = random_model(&spec, seed);
        let mut arrived: Vec<(u64, Update)> = (0..nodes)
            .map(|node| {
                let model = random_model(&spec, seed ^ (node as u64 + 1));
                let samples = random.random_range(1..=1 << 40);
                let staleness = if node == 0 { 0 } else { random.random_range(0..4) };
                (random.random(), (merged(&spec, &base, &[weights(&model, samples)]).0, samples, staleness))
            })
            .collect();
        let sorted = |arrived: &mut Vec<(u64, Update)>| {
            arrived.sort_by_key(|(id, update)| (update.2 > 0, *id));
            let updates: Vec<_> = arrived.iter().map(|(_, update)| update.clone()).collect();
            (aggregated(&spec, &base, &updates), updates)
        };
        let (first, updates) = sorted(&mut arrived);
        prop_assert!(first == naive(&spec, &base, &updates));
        for _ in 0..3 {
            for i in (1..arrived.len()).rev() {
                arrived.swap(i, random.random_range(0..=i));
            }
            prop_assert!(sorted(&mut arrived).0 == first);
        }
    }

    /// A single contribution that is coded without loss gives exactly its own weights, if the sums can be represented.
    #[test]
    fn a_single_contribution_is_taken_whole(values in prop::collection::vec(-1024i32..1024, 1..600), samples in 1u64..1 << 40) {
        let model = floats(&values.iter().map(|v| *v as f32 / 64.0).collect::<Vec<_>>());
        let spec = plain("none/1", values.len());
        let base = floats(&vec![0.25; values.len()]);
        let update = merged(&spec, &base, &[weights(&model, samples)]).0;
        prop_assert_eq!(aggregated(&spec, &base, &[(update, samples, 0)]), model);
    }

    /// Bytes that [`check`] accepts always aggregate to finite weights; arbitrary bytes never cause a panic.
    #[test]
    fn arbitrary_bytes_are_refused_or_harmless(seed in any::<u64>(), codec in 0usize..3) {
        let spec = spec(CODECS[codec], vec![
            tensor("a", Dtype::F32, &[300]), tensor("b", Dtype::F16, &[5]), tensor("c", Dtype::F64, &[2]), tensor("d", Dtype::I8, &[7]),
        ]);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let length = Codec::of(&spec.codec).unwrap().coded_bytes(&spec.tensors) as usize;
        let mut update = vec![0u8; length];
        // One byte in 64 is set: if all were random, nearly no update would pass.
        update.iter_mut().filter(|_| seed.is_multiple_of(2) || random.random_range(0..64) == 0).for_each(|b| *b = seed as u8 | 1);
        if check(&spec, &update).is_ok() {
            let base = random_model(&spec, seed);
            aggregated(&spec, &base, &[(update, 1, 0)]);
        }
    }
}
