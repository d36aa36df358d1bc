//! Tests that pin the bits of coded updates and of an aggregate. A changed bit is a new version of the codec or the
//! strategy, never a new vector.
//!
//! The vectors were made by an independent writer (a page of Python, with exact fractions for every rounding) from the
//! documentation of [`merge_and_encode`] and [`aggregate`]. There are two fresh contributions of 10 and 30 samples and one
//! of 7 samples that is three rounds late.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;

use ndarray::ArrayView1;
use qres_fed::id::{BlobId, CheckpointId, NodeId};
use qres_fed::record::{Dtype, End, Figures, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::tensor::to_safetensors;
use qres_fed::update::{Outputs, Parent, Part, Weighted, aggregate, check, merge_and_encode};

const BASE: &str = "0000003f0000a0bf82a8fb3700007a44cdccccbd0000e040";
const MODELS: [&str; 3] = [
    "0000403f000080bfacc5273800207a449a99993e0000e040",
    "cdcccc3d000040c0acc5a7b700907744000000be0000d040",
    "00000040ae47a1bff7cc123800008044ec51b8bd00000000",
];
const SAMPLES: [u64; 3] = [10, 30, 7];
const STALENESS: u32 = 3;

/// Test vectors: a codec, the three coded updates, and the aggregate of the base and the updates.
const VECTORS: [(&str, [&str; 3], &str); 5] = [
    (
        "none/1",
        [
            "0000803e0000803eacc527370000003fcdcccc3e00000000",
            "cdccccbe0000e0bf17b751b800001cc1ccccccbc000000bf",
            "0000c03f00d723bcb0c5a7360000c04108d7233c0000e0c0",
        ],
        "1dfacd3e5e9d19c09f1fefb599d478441190c8bc4af1c240",
    ),
    (
        "bf16/1",
        [
            "803e803e2837003fcd3e0000",
            "cdbee0bf52b81cc1cdbc00bf",
            "c03f24bca836c041243ce0c0",
        ],
        "ced6cd3e619d19c0a2eaf4b599d4784469f5c7bc4af1c240",
    ),
    (
        "f16/1",
        [
            "00340034a800003866360000",
            "66b600bf4783e0c866a600b8",
            "003e1fa15400004e1f2100c7",
        ],
        "f102ce3e5f9d19c03866efb599d47844f6b5c8bc4af1c240",
    ),
    (
        "int8/1",
        ["0502813b3f3f007f6600", "753a9d3dfbe9008100f9", "0783413e0800007f00db"],
        "7ceed33e8a491ac082a8fb3799d4784499c9fbbb2c23c240",
    ),
    // So small an update is not coded: an empty header, the numbers of none/1, and an index of one chunk.
    (
        "tcq/1",
        [
            "0000000000000000000000803e0000803eacc527370000003fcdcccc3e00000000ffff",
            "000000000000000000cdccccbe0000e0bf17b751b800001cc1ccccccbc000000bfffff",
            "0000000000000000000000c03f00d723bcb0c5a7360000c04108d7233c0000e0c0ffff",
        ],
        "1dfacd3e5e9d19c09f1fefb599d478441190c8bc4af1c240",
    ),
];

fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// Makes a safetensors file of one tensor of six f32.
fn file(digits: &str) -> Vec<u8> {
    let values: Vec<f32> = bytes(digits)
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    to_safetensors([("w", ArrayView1::from(&values))])
}

fn spec(codec: &str) -> Spec {
    Spec {
        name: "arithmetic".parse().unwrap(),
        tensors: vec![TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![6],
        }]
        .into(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy {
            min_contributions: 1,
            target: None,
            deadline_ms: None,
            deadline_ms_max: 1_000,
            max_staleness: 4,
        },
        codec: Rule::new(codec),
        privacy: Rule {
            id: "none/1".into(),
            params: BTreeMap::new(),
        },
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

#[test]
fn updates_and_their_aggregate_have_these_bits() {
    for (codec, updates, made) in VECTORS {
        let (spec, base) = (spec(codec), file(BASE));
        for (model, update) in MODELS.into_iter().zip(updates) {
            let mut coded = vec![];
            let part = Part {
                file: &file(model),
                samples: 5,
                delta: false,
                steps: None,
            };
            merge_and_encode(&spec, &base, &[part], &mut coded).unwrap();
            assert_eq!(coded, bytes(update), "{codec}");
            check(&spec, &coded).unwrap();
        }
        let updates = updates.map(bytes);
        let weighted = |i: usize, staleness| Weighted {
            update: &updates[i],
            author: NodeId([i as u8; 32]),
            samples: SAMPLES[i],
            staleness,
            figures: Figures::default(),
        };
        let mut out = vec![];
        let (fresh, late) = ([weighted(0, 0), weighted(1, 0)], [weighted(2, STALENESS)]);
        let parent = Parent {
            id: CheckpointId([0; 32]),
            weights: &base,
            optimiser: None,
        };
        aggregate(&spec, parent, &fresh, &late, Outputs::of_weights(&mut out)).unwrap();
        assert_eq!(out, file(made), "{codec}");
    }
}

/// The script that runs these tests on other processors names the one that it means to be on.
#[test]
fn the_processor_is_the_one_that_is_meant() {
    let Ok(meant) = std::env::var("QRES_PROCESSOR") else {
        return;
    };
    #[cfg(target_arch = "x86_64")]
    let found = match std::arch::is_x86_feature_detected!("avx2") {
        true => "x86-64 with AVX2",
        false => "x86-64 without AVX",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let found = std::env::consts::ARCH;
    assert_eq!(found, meant);
}
