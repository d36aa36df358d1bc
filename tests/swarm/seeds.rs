//! Models whose first weights come from a seed.

use qres_api::pb;
use qres_fed::tensor::write_seeded;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, Swarm};
use tonic::Code;

use crate::rounds::node_ids;
use crate::{field, head, vector_model};

fn tensor(name: &str, dtype: &str, shape: &[u64]) -> pb::TensorSpec {
    pb::TensorSpec {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
    }
}

/// A layer whose tensors stand in no order.
fn layer(name: &str, seed: u64) -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        data: vec![].into(),
        tensors: vec![tensor("weight", "F32", &[4, 9]), tensor("bias", "BF16", &[4])],
        seed: Some(seed),
        ..vector_model(name, &[])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_creator_makes_the_weights_and_the_others_fetch_them() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    let members = node_ids(&nodes).await;
    let layer = |name: &str, seed| pb::CreateModelRequest {
        members: members.clone(),
        ..layer(name, seed)
    };
    let made = nodes[0].create(layer("seeded", 7)).await.unwrap();
    let again = nodes[0].create(layer("seeded", 7)).await.unwrap();
    assert_eq!(
        (&made.id, head(&made)),
        (&again.id, head(&again)),
        "the same seed, the same model"
    );
    let names: Vec<_> = made.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["bias", "weight"]);
    nodes[1].join("seeded").await;
    let fetched = nodes[1].wait_for_round("seeded", 0).await;
    let schema = qres_fed::tensor::read_schema(&&fetched.file[..]).unwrap();
    let mut expected = vec![];
    write_seeded(&schema, 7, &mut expected).unwrap();
    assert_eq!(fetched.file, expected);
    let other = nodes[0].create(layer("another", 8)).await.unwrap();
    assert_ne!(made.checkpoint0_digest, other.checkpoint0_digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_without_sound_tensors_is_refused_by_field() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let good = layer("bad", 7);
    let with = |tensors: Vec<pb::TensorSpec>| pb::CreateModelRequest {
        tensors,
        ..good.clone()
    };
    let cases = [
        ("tensors", with(vec![])),
        (
            "tensors",
            pb::CreateModelRequest {
                seed: None,
                ..good.clone()
            },
        ),
        (
            "tensors[1].dtype",
            with(vec![tensor("a", "F32", &[1]), tensor("b", "FLOAT", &[1])]),
        ),
        (
            "tensors",
            with(vec![tensor("a", "F32", &[1]), tensor("a", "F32", &[1])]),
        ),
        ("tensors", with(vec![tensor("", "F32", &[1])])),
        ("tensors", with(vec![tensor("a", "F32", &[u64::MAX, u64::MAX])])),
        ("tensors", with(vec![tensor("a", "F64", &[1 << 40])])),
        ("tensors", with(vec![tensor("a", "F32", &[1; 17])])),
        (
            "data",
            pb::CreateModelRequest {
                data: vector(&[1.0]).into(),
                ..good.clone()
            },
        ),
        (
            "seed",
            pb::CreateModelRequest {
                succeeds: "ab".repeat(32),
                ..good.clone()
            },
        ),
    ];
    for (blamed, request) in cases {
        let status = node.create(request).await.unwrap_err();
        assert_eq!(
            (status.code(), field(&status).as_str()),
            (Code::InvalidArgument, blamed),
            "{status:?}"
        );
    }
    node.create(good.clone()).await.unwrap();
}
