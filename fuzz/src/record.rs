//! Valid records to begin with: those of the golden vectors, and others that use more of what a record may contain.

use std::collections::BTreeMap;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId, SpecId};
use qres_fed::record::{
    Checkpoint, Content, Contribution, Curve, Dtype, End, Membership, Point, Proof, Report, RoundPolicy, Rule,
    Schedule, Seal, Signed, Spec, StateRecord, TensorSpec,
};
use qres_wire::identity::Identity;

/// Makes a [`TensorSpec`] with this name, dtype and shape.
pub fn tensor(name: &str, dtype: Dtype, shape: &[u64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
    }
}

/// Returns tensors of every kind that codecs tell apart, with blocks that are whole and blocks that are not.
pub fn tensors() -> Vec<TensorSpec> {
    vec![
        tensor("a", Dtype::F32, &[3, 100]),
        tensor("b", Dtype::F16, &[7]),
        tensor("c", Dtype::Bf16, &[2, 1, 9]),
        tensor("d", Dtype::F64, &[5]),
        tensor("e", Dtype::I64, &[2]),
        tensor("f", Dtype::Bool, &[9]),
        tensor("g", Dtype::F32, &[0, 4]),
        tensor("h", Dtype::U8, &[]),
    ]
}

fn cosine() -> Schedule {
    let point = |round, value| Point { round, value };
    Schedule {
        curve: Curve::Cosine,
        points: vec![point(1, 0.1), point(40, 0.001)],
    }
}

/// Returns the [`Spec`] of the golden vectors, with these tensors and this codec.
pub fn spec(tensors: Vec<TensorSpec>, codec: &str) -> Spec {
    Spec {
        name: "metabrain/v4".parse().expect("a name"),
        tensors: tensors.into(),
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
        codec: Rule::new(codec),
        privacy: Rule::new("none/1"),
        membership: Membership::List([3, 1, 2].map(|n| NodeId([n; 32])).into()),
        checkpoint0: BlobId([9; 32]),
        fixed: None,
        creator: NodeId([1; 32]),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: [("learning_rate".to_owned(), cosine())].into(),
        earlier_rounds: 0,
    }
}

/// Returns the [`Spec`] of an open model that succeeds another model.
pub fn open_spec() -> Spec {
    Spec {
        membership: Membership::Open,
        succeeds: Some(SpecId([8; 32])),
        rounds: RoundPolicy {
            deadline_ms: Some(1_000),
            ..spec(vec![], "none/1").rounds
        },
        ..spec(vec![tensor("größe 重み", Dtype::F32, &[2])], "int8/1")
    }
}

/// Signs a [`Contribution`] with this update and this number of samples.
pub fn contribution(author: &Identity, update: &[u8], samples: u64) -> Signed<Contribution> {
    author.sign(Contribution {
        spec: SpecId([7; 32]),
        parent: CheckpointId([8; 32]),
        round: 5,
        author: author.node(),
        samples,
        update: BlobId::of(update),
        update_bytes: update.len() as u64,
        fidelity: 0.75,
        source: None,
        report: Report::default(),
        releases: 0,
    })
}

/// Signs a [`Seal`] with at least one entry in every list.
pub fn seal(sealer: &Identity) -> Signed<Seal> {
    sealer.sign(Seal {
        spec: SpecId([7; 32]),
        round: 5,
        parent: CheckpointId([8; 32]),
        fresh: vec![ContributionId([10; 32]), ContributionId([11; 32])],
        late: vec![ContributionId([12; 32])],
        proofs: vec![ProofId([13; 32])],
        result: Content {
            weights: BlobId([14; 32]),
            optimiser: Some(BlobId([15; 32])),
        },
        sealer: sealer.node(),
    })
}

/// Returns the [`Checkpoint`] of [`seal`], and the first checkpoint of the model.
pub fn checkpoints(sealer: &Identity) -> [Checkpoint; 2] {
    let zero = Checkpoint::zero(SpecId([7; 32]), BlobId([9; 32]));
    [seal(sealer).record.checkpoint(), zero]
}

/// Returns a [`Proof`] of equivocation against the author: two contributions of one round that differ in their samples.
pub fn proof(author: &Identity) -> Proof {
    let (a, b) = (contribution(author, b"update", 5), contribution(author, b"update", 6));
    Proof::new(a, b).expect("they differ")
}

/// Returns the [`StateRecord`] of a state with these coded tensors.
pub fn state(publisher: &Identity, coded: &[u8]) -> StateRecord {
    StateRecord {
        spec: SpecId([7; 32]),
        publisher: publisher.node(),
        name: "embed/ü".into(),
        sequence: 9,
        timestamp_unix_ms: 1_700_000_000_000,
        fidelity: 0.9975,
        blob: BlobId::of(coded),
        bytes: coded.len() as u64,
    }
}
