//! Tests that pin the canonical bytes and ids of every record.
//!
//! The vectors were made by an independent writer (a page of Python: struct and the PyPI package blake3), from the field
//! lists alone: tag, then the fields in order, little-endian, a u32 length before every list, text and map, 0 or 1 before
//! an option. A changed vector is a changed protocol: it needs a new tag, never a new vector.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId, SpecId};
use qres_fed::record::{
    Canonical, Change, Checkpoint, Consent, Content, Contribution, Curve, DecodeError, Dtype, End, Figures, Goal,
    Handover, Measured, Membership, Metric, MetricTarget, Point, Proof, Proposal, Report, RoundPolicy, Rule, Schedule,
    Schema, Seal, Signature, Signed, Spec, StateRecord, TensorKind, TensorSpec,
};
use qres_fed::tensor::Layout;
use qres_fed::update::{Outputs, Parent, Part, Weighted, aggregate, check, merge_and_encode};

const SPEC: &str = "\
     717265732f737065632f350a0c0000006d657461627261696e2f7634040000000400000062696173010100000003000000000000\
     0000040000006e6f726d01010000000300000000000000020400000073746570040000000000050000007461626c650302000000\
     04000000000000000200000000000000010900000066656470726f782f31020000000c0000006c6f63616c5f65706f6368730000\
     000000000040020000006d759a9999999999b93f02000000050000006e6e6d2f3101000000010000006600000000000000000800\
     00006d656469616e2f310000000002000000010300000000c0270900000000000400000006000000626631362f31000000000600\
     00006e6f6e652f310000000000030000000101010101010101010101010101010101010101010101010101010101010101020202\
     02020202020202020202020202020202020202020202020202020202020303030303030303030303030303030303030303030303\
     03030303030303030309090909090909090909090909090909090909090909090909090909090909090106060606060606060606\
     06060606060606060606060606060606060606060606010101010101010101010101010101010101010101010101010101010101\
     01010002000000040000006c6f737300080000006163637572616379010164000000000000000108000000616363757261637966\
     6666666666ee3f010000000d0000006c6561726e696e675f72617465020200000001000000000000009a9999999999b93f280000\
     0000000000fca9f1d24d62503f0000000000000000";
const SPEC_ID: &str = "3972d960b8d3756a68ce9b37d75ca865cc6ca3cf54a07cbff4f30371c94ce5f4";
const CONSENT: &str = "\
     717265732f636f6e73656e742f310a07070707070707070707070707070707070707070707070707070707070707070202020202\
     02020202020202020202020202020202020202020202020202020203000000000000000101010101010101010101010101010101\
     01010101010101010101010101010101020000000808080808080808080808080808080808080808080808080808080808080808\
     09090909090909090909090909090909090909090909090909090909090909090100000003030303030303030303030303030303\
     03030303030303030303030303030303010500000000000000040404040404040404040404040404040404040404040404040404\
     040404040401";
const CONSENT_ID: &str = "53da50541dc682317f2230e3f79a0a4529d4f68b95ee31dfd139fc5c3da33115";
const CONTRIBUTION: &str = "\
     717265732f636f6e747269627574696f6e2f330a0707070707070707070707070707070707070707070707070707070707070707\
     08080808080808080808080808080808080808080808080808080808080808080500000000000000010101010101010101010101\
     01010101010101010101010101010101010101019d05000000000000040404040404040404040404040404040404040404040404\
     040404040404040490650000000000000000403f010300000000000000010000000000003e400200000001000000000000e03f64\
     00000000000000000600000000000000";
const CONTRIBUTION_ID: &str = "a57d638fef21d279b897e16dfe090ace652184a901d174202c899586530cf70a";
const SEAL: &str = "\
     717265732f7365616c2f320a07070707070707070707070707070707070707070707070707070707070707070500000000000000\
     0808080808080808080808080808080808080808080808080808080808080808020000000a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\
     0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b01000000\
     0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c000000000d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d\
     0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d010e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e010101\
     0101010101010101010101010101010101010101010101010101010101";
const SEAL_ID: &str = "c64ed5480a03a2758b16abc9e29ae9710d05cc9c1b2a1754b422b3fd7019ba15";
const CHECKPOINT: &str = "\
     717265732f636865636b706f696e742f320a07070707070707070707070707070707070707070707070707070707070707070500\
     000000000000010808080808080808080808080808080808080808080808080808080808080808020000000a0a0a0a0a0a0a0a0a\
     0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b\
     0b0b0b010000000c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c000000000d0d0d0d0d0d0d0d0d\
     0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d010e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e\
     0e0e0e0e";
const CHECKPOINT_ID: &str = "6a91a22e08b94ad1c433680202cdc37339c6fc20aa717fc8a8afdbb412102b0b";
const CHECKPOINT_0: &str = "\
     717265732f636865636b706f696e742f320a07070707070707070707070707070707070707070707070707070707070707070000\
     00000000000000000000000000000000000000090909090909090909090909090909090909090909090909090909090909090900";
const CHECKPOINT_0_ID: &str = "a1924593fddb1aea740c5374f84ce8ba139f11722e6e4746c56cd49d612fce6a";
const PROPOSAL: &str = "\
     717265732f70726f706f73616c2f310a070707070707070707070707070707070707070707070707070707070707070705000000\
     000000000808080808080808080808080808080808080808080808080808080808080808020000000a0a0a0a0a0a0a0a0a0a0a0a\
     0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b\
     010000000c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c010000000e0e0e0e0e0e0e0e0e0e0e0e\
     0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e";
const PROPOSAL_ID: &str = "9b206697acc7fe94199da36e4e35a587c47f838a8518568db520ab74e62e6c7b";
const PROOF: &str = "\
     717265732f70726f6f662f310a070707070707070707070707070707070707070707070707070707070707070708080808080808\
     08080808080808080808080808080808080808080808080808050000000000000001010101010101010101010101010101010101\
     010101010101010101010101019d0500000000000004040404040404040404040404040404040404040404040404040404040404\
     0490650000000000000000003f010300000000000000010000000000003e400200000001000000000000e03f6400000000000000\
     00060000000000000001010101010101010101010101010101010101010101010101010101010101010101010101010101010101\
     01010101010101010101010101010101010101010107070707070707070707070707070707070707070707070707070707070707\
     07080808080808080808080808080808080808080808080808080808080808080805000000000000000101010101010101010101\
     0101010101010101010101010101010101010101019d050000000000000404040404040404040404040404040404040404040404\
     04040404040404040490650000000000000000403f010300000000000000010000000000003e400200000001000000000000e03f\
     64000000000000000006000000000000000202020202020202020202020202020202020202020202020202020202020202020202\
     0202020202020202020202020202020202020202020202020202020202";
const PROOF_ID: &str = "d8c127faeed746b387d6901057a78fa678ac746e4163c49d385a1288d2e1300a";

const STATE: &str = "\
     717265732f73746174652f310a070707070707070707070707070707070707070707070707070707070707070701010101010101\
     0101010101010101010101010101010101010101010101010108000000656d6265642fceb80c000000000000007b68e5cf8b0100\
     00ec51b81e85ebef3f04040404040404040404040404040404040404040404040404040404040404040410000000000000";
const STATE_DIGEST: &str = "b544abac9010e145edfc79b1b917581a0372782e3820499c104a3945138f8063";

/// Asserts that the record has these bytes and this id and is read back from them. Every prefix of the bytes and the bytes
/// with one more byte are refused.
fn assert_golden<T: Canonical + PartialEq + std::fmt::Debug>(record: &T, id: &str, golden: &str, golden_id: &str) {
    let bytes = hex::decode(golden).unwrap();
    assert_eq!(hex::encode(record.to_canonical()), golden);
    assert_eq!(id, golden_id);
    assert_eq!(T::from_canonical(&bytes).as_ref(), Ok(record));
    for cut in 0..bytes.len() {
        assert!(T::from_canonical(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(T::from_canonical(&longer), Err(DecodeError::Malformed(_))));
}

fn spec() -> Spec {
    let tensor = |name: &str, dtype, shape: &[u64]| TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
    };
    Spec {
        name: "metabrain/v4".parse().unwrap(),
        tensors: Schema::of_kinds([
            (tensor("bias", Dtype::F32, &[3]), TensorKind::Shared),
            (tensor("norm", Dtype::F32, &[3]), TensorKind::Personal),
            (tensor("step", Dtype::I64, &[]), TensorKind::Shared),
            (tensor("table", Dtype::Bf16, &[4, 2]), TensorKind::Frozen),
        ]),
        strategy: Rule {
            id: "fedprox/1".into(),
            params: BTreeMap::from([("mu".into(), 0.1), ("local_epochs".into(), 2.0)]),
        },
        aggregation: vec![
            Rule {
                id: "nnm/1".into(),
                params: BTreeMap::from([("f".into(), 0.0)]),
            },
            Rule::new("median/1"),
        ],
        rounds: RoundPolicy {
            min_contributions: 2,
            target: Some(3),
            deadline_ms: None,
            deadline_ms_max: 600_000,
            max_staleness: 4,
        },
        codec: Rule::new("bf16/1"),
        privacy: Rule::new("none/1"),
        membership: Membership::List([3, 1, 2].map(|n| NodeId([n; 32])).into()),
        checkpoint0: BlobId([9; 32]),
        fixed: Some(BlobId([6; 32])),
        creator: NodeId([1; 32]),
        succeeds: None,
        metrics: vec![
            Metric {
                name: "loss".into(),
                goal: Goal::Lowest,
            },
            Metric {
                name: "accuracy".into(),
                goal: Goal::Highest,
            },
        ],
        end: End {
            max_rounds: Some(100),
            target: Some(MetricTarget {
                metric: "accuracy".into(),
                value: 0.95,
            }),
        },
        schedules: [(
            "learning_rate".to_owned(),
            Schedule {
                curve: Curve::Cosine,
                points: vec![
                    Point { round: 1, value: 0.1 },
                    Point {
                        round: 40,
                        value: 0.001,
                    },
                ],
            },
        )]
        .into(),
        earlier_rounds: 0,
    }
}

fn contribution() -> Contribution {
    Contribution {
        spec: SpecId([7; 32]),
        parent: CheckpointId([8; 32]),
        round: 5,
        author: NodeId([1; 32]),
        samples: 1_437,
        update: BlobId([4; 32]),
        update_bytes: 26_000,
        fidelity: 0.75,
        source: Some(3),
        report: Report {
            steps: Some(30.0),
            metrics: vec![
                Some(Measured {
                    value: 0.5,
                    samples: 100,
                }),
                None,
            ],
        },
        releases: 6,
    }
}

fn seal() -> Seal {
    Seal {
        spec: SpecId([7; 32]),
        round: 5,
        parent: CheckpointId([8; 32]),
        fresh: vec![ContributionId([10; 32]), ContributionId([11; 32])],
        late: vec![ContributionId([12; 32])],
        proofs: vec![],
        result: Content {
            weights: BlobId([13; 32]),
            optimiser: Some(BlobId([14; 32])),
        },
        sealer: NodeId([1; 32]),
    }
}

#[test]
fn specs() {
    let spec = spec();
    assert_golden(&spec, &spec.id().to_string(), SPEC, SPEC_ID);
    assert_eq!(spec.check(), Ok(()));
}

#[test]
fn contributions() {
    let contribution = contribution();
    assert_golden(
        &contribution,
        &contribution.id().to_string(),
        CONTRIBUTION,
        CONTRIBUTION_ID,
    );
}

#[test]
fn consents() {
    let consent = Consent {
        spec: SpecId([7; 32]),
        author: NodeId([2; 32]),
        number: 3,
        change: Some(Change {
            proposer: NodeId([1; 32]),
            add: [8, 9].map(|n| NodeId([n; 32])).into(),
            remove: [NodeId([3; 32])].into(),
        }),
        handover: Some(Handover {
            round: 5,
            checkpoint: CheckpointId([4; 32]),
            bound: true,
        }),
    };
    assert_golden(&consent, &consent.id().to_string(), CONSENT, CONSENT_ID);
}

#[test]
fn seals_and_the_checkpoints_they_make() {
    let seal = seal();
    assert_golden(&seal, &seal.id().to_string(), SEAL, SEAL_ID);
    let checkpoint = seal.checkpoint();
    assert_golden(&checkpoint, &checkpoint.id().to_string(), CHECKPOINT, CHECKPOINT_ID);
    let by_another = Seal {
        sealer: NodeId([2; 32]),
        ..seal
    };
    assert_ne!(by_another.id().to_string(), SEAL_ID);
    assert_eq!(
        by_another.checkpoint().id().to_string(),
        CHECKPOINT_ID,
        "no sealer in it"
    );
}

#[test]
fn checkpoint_zero() {
    let zero = Checkpoint::zero(SpecId([7; 32]), BlobId([9; 32]));
    assert_golden(&zero, &zero.id().to_string(), CHECKPOINT_0, CHECKPOINT_0_ID);
}

#[test]
fn proposals() {
    let proposal = Proposal {
        spec: SpecId([7; 32]),
        round: 5,
        parent: CheckpointId([8; 32]),
        fresh: vec![ContributionId([10; 32]), ContributionId([11; 32])],
        late: vec![ContributionId([12; 32])],
        proofs: vec![ProofId([14; 32])],
    };
    assert_golden(&proposal, &proposal.id().to_string(), PROPOSAL, PROPOSAL_ID);
}

#[test]
fn proofs() {
    let signed = |fidelity, signature| Signed {
        record: Contribution {
            fidelity,
            ..contribution()
        },
        signature: Signature([signature; 64]),
    };
    let proof = Proof::new(signed(0.75, 2), signed(0.5, 1)).unwrap();
    assert_golden(&proof, &proof.id().to_string(), PROOF, PROOF_ID);
    let re_signed = Proof::new(signed(0.5, 3), signed(0.75, 4)).unwrap();
    assert_eq!(re_signed.id(), proof.id(), "signatures make no second proof");
    assert!(Proof::new(signed(0.5, 1), signed(0.5, 2)).is_err());
}

#[test]
fn states() {
    let state = StateRecord {
        spec: SpecId([7; 32]),
        publisher: NodeId([1; 32]),
        name: "embed/θ".into(),
        sequence: 12,
        timestamp_unix_ms: 1_700_000_000_123,
        fidelity: 0.9975,
        blob: BlobId([4; 32]),
        bytes: 4_100,
    };
    // A state has no id of its own, so the digest of its bytes is compared.
    let digest = BlobId::of(&state.to_canonical()).to_string();
    assert_golden(&state, &digest, STATE, STATE_DIGEST);
}

/// Sets and maps are read in one order only. Otherwise a spec with its members in another order, or with one named twice,
/// would be a second byte string of one value.
#[test]
fn only_the_one_canonical_encoding_is_read() {
    let bytes = hex::decode(SPEC).unwrap();
    let member = |n: u8| bytes.windows(32).position(|w| *w == [n; 32]).unwrap();
    let (two, three) = (member(2), member(3));
    let mut shuffled = bytes.clone();
    shuffled[two..two + 32].fill(3);
    shuffled[three..three + 32].fill(2);
    assert!(matches!(
        Spec::from_canonical(&shuffled),
        Err(DecodeError::Malformed(_))
    ));
    let mut twice = bytes.clone();
    twice[three..three + 32].fill(2);
    assert!(matches!(Spec::from_canonical(&twice), Err(DecodeError::Malformed(_))));
}

#[test]
fn one_kind_of_record_is_not_read_as_another() {
    let bytes = hex::decode(CHECKPOINT).unwrap();
    assert_eq!(
        Proposal::from_canonical(&bytes),
        Err(DecodeError::Tag {
            expected: "qres/proposal/1\n"
        })
    );
}

/// False lengths are refused before anything is allocated for them.
#[test]
fn lengths_that_lie_are_refused() {
    let bytes = hex::decode(SEAL).unwrap();
    let fresh = "qres/seal/2\n".len() + 32 + 8 + 32;
    let mut lying = bytes.clone();
    lying[fresh..fresh + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Seal::from_canonical(&lying), Err(DecodeError::Malformed(_))));
    let mut nan = hex::decode(CONTRIBUTION).unwrap();
    let end = nan.len();
    nan[end - 52..end - 48].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(matches!(
        Contribution::from_canonical(&nan),
        Err(DecodeError::Malformed(_))
    ));
}

/// An update that is coded with `tcq/1`. It must be read for ever. An encoder that makes other bytes needs a further file.
const TRELLIS_CODED: &[u8] = include_bytes!("golden/tcq-1.update");
/// The id of the weights that are decoded from it. An independent reader (a page of Python, from the docs of the format) decodes
/// the same ones.
const TRELLIS_DECODED: &str = "839bb1559a3ec4490321670b89836a86073fdacff2601da03552b27c9e6bb34a";

/// Makes a model of all dtypes that `tcq/1` treats differently: its spec, zeros, and weights. Its floats are sums of six hashes,
/// near a Gaussian; every tensor has a size of its own, and there are outliers.
pub fn trellis_model() -> (Spec, Vec<u8>, Vec<u8>) {
    let tensor = |name: &str, dtype, shape: &[u64]| TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
    };
    let spec = Spec {
        tensors: vec![
            tensor("a", Dtype::F32, &[4_000]),
            tensor("b", Dtype::I32, &[3]),
            tensor("c", Dtype::Bf16, &[500]),
            tensor("d", Dtype::F64, &[700]),
            tensor("e", Dtype::F32, &[20_000]),
            tensor("f", Dtype::F16, &[9]),
        ]
        .into(),
        aggregation: vec![],
        codec: Rule::new("tcq/1"),
        ..spec()
    };
    let hash = |i: u64| {
        let mixed = (i ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        f64::from((mixed >> 40) as u32) / f64::from(1 << 24) - 0.5
    };
    let value = |i: u64| (6 * i..6 * i + 6).map(hash).sum::<f64>() * if i % 997 == 5 { 30.0 } else { 1.0 };
    let header = Layout::of(&spec.tensors).header().to_vec();
    let mut model = header.clone();
    (0..4_000).for_each(|i| model.extend((value(i) as f32).to_le_bytes()));
    model.extend([7i32, -8, 9].map(i32::to_le_bytes).concat());
    (0..500).for_each(|i| model.extend(&(value(i) as f32 * 4.0).to_le_bytes()[2..]));
    (0..700).for_each(|i| model.extend((value(i) * 1e-3).to_le_bytes()));
    (0..20_000).for_each(|i| model.extend(((value(i) * 0.1) as f32).to_le_bytes()));
    model.extend([0x3c00u16; 9].map(u16::to_le_bytes).concat());
    let zeros = [header.as_slice(), &vec![0; model.len() - header.len()]].concat();
    (spec, zeros, model)
}

/// Pins the bytes of an update that is coded with `tcq/1`, and the weights that are decoded from it.
#[test]
fn a_trellis_coded_update_has_these_bytes_and_these_weights() {
    let (spec, zeros, model) = trellis_model();
    let part = Part {
        file: &model,
        samples: 1,
        delta: false,
        steps: None,
    };
    let mut update = vec![];
    let coded = merge_and_encode(&spec, &zeros, &[part], &mut update).unwrap();
    assert!(coded.fidelity >= 0.99);
    assert!(update == TRELLIS_CODED, "other bytes: {} of them", update.len());
    check(&spec, &TRELLIS_CODED).unwrap();
    let fresh = [Weighted {
        update: &TRELLIS_CODED,
        author: spec.creator,
        samples: 1,
        staleness: 0,
        figures: Figures::default(),
    }];
    let parent = Parent {
        id: spec.zero().0,
        weights: &zeros,
        optimiser: None,
    };
    let mut decoded = vec![];
    aggregate(&spec, parent, &fresh, &[], Outputs::of_weights(&mut decoded)).unwrap();
    assert_eq!(BlobId::of(&decoded).to_string(), TRELLIS_DECODED);
}
