//! Tensors that rounds do not change: each trainer's personal ones, and frozen ones, on real nodes.

use qres_api::pb;
use qres_fed::ndarray::ArrayView1;
use qres_fed::tensor::{read_safetensors, to_safetensors};
use qres_tests::node::Fetched;
use qres_tests::{Node, Swarm, wait};
use tonic::Code;

use crate::evaluation::model_of;
use crate::rounds::node_ids;
use crate::{field, vector_model};

const MODEL: &str = "own";

/// The values of the tensors of these tests: `own` is personal, `table` frozen, `w` shared.
#[derive(Debug, Clone, PartialEq)]
struct Values {
    own: Vec<f32>,
    table: Vec<f32>,
    w: Vec<f32>,
}

fn file(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    to_safetensors(tensors.iter().map(|(name, values)| (*name, ArrayView1::from(*values))))
}

fn values(fetched: &Fetched) -> Values {
    let tensors = read_safetensors(&fetched.file).expect("a safetensors file");
    let of = |name: &str| {
        tensors[name]
            .array::<f32>()
            .expect("a vector")
            .iter()
            .copied()
            .collect()
    };
    Values {
        own: of("own"),
        table: of("table"),
        w: of("w"),
    }
}

fn expected(own: f32, w: f32) -> Values {
    Values {
        own: vec![own; 2],
        table: vec![1.0, 2.0, 3.0],
        w: vec![w],
    }
}

fn request() -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        data: file(&[("own", &[5.0, 5.0]), ("table", &[1.0, 2.0, 3.0]), ("w", &[0.0])]).into(),
        personal: vec!["o?n".into()],
        frozen: vec!["tab*".into()],
        ..vector_model(MODEL, &[])
    }
}

async fn fetch(node: &Node, trainer: Option<&str>, checkpoint: &str, offset: u64) -> Fetched {
    let request = pb::FetchWeightsRequest {
        model: MODEL.into(),
        trainer: trainer.map(str::to_owned),
        checkpoint: checkpoint.into(),
        offset,
        ..Default::default()
    };
    node.fetch_with(request).await.unwrap()
}

async fn submit(
    node: &Node,
    base: &str,
    trainer: &str,
    tensors: &[(&str, &[f32])],
) -> Result<pb::Submission, tonic::Status> {
    let header = pb::SubmitWeightsRequest {
        model: MODEL.into(),
        base: base.into(),
        trainer: trainer.into(),
        samples: 1,
        ..Default::default()
    };
    node.submit_with(header, &file(tensors)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trainer_gets_its_own_tensors_back_and_the_frozen_ones_stay() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let model = model_of(&nodes, request()).await;
    let kinds: Vec<_> = model
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.kind()))
        .collect();
    let kind = [pb::TensorKind::Personal, pb::TensorKind::Frozen, pb::TensorKind::Shared];
    assert_eq!(kinds, [("own", kind[0]), ("table", kind[1]), ("w", kind[2])]);
    assert_eq!((model.tensor_count, model.fixed_digest.len()), (3, 64));

    for (i, node) in nodes.iter().enumerate() {
        let base = fetch(node, Some(""), "", 0).await;
        assert_eq!(values(&base), expected(5.0, 0.0), "node {i} has the first values");
        assert_eq!(base.header.personal_digest, "");
        let value = 10.0 * (i + 1) as f32;
        let mut tensors: Vec<(&str, &[f32])> = vec![("w", &[3.0]), ("own", &[0.0, 0.0])];
        let own = [value; 2];
        tensors[1].1 = &own;
        // A trainer may send the frozen tensors along.
        if i > 0 {
            tensors.push(("table", &[1.0, 2.0, 3.0]));
        }
        submit(node, &base.id(), "", &tensors).await.unwrap();
    }
    let mut heads = vec![];
    for (i, node) in nodes.iter().enumerate() {
        let head = node.wait_for_round(MODEL, 1).await.id();
        let own = fetch(node, Some(""), "", 0).await;
        assert_eq!(values(&own), expected(10.0 * (i + 1) as f32, 3.0), "node {i}");
        assert_eq!(own.header.personal_digest.len(), 64);
        assert_eq!(
            values(&fetch(node, Some("bob"), "", 0).await),
            expected(5.0, 3.0),
            "bob has none yet"
        );
        assert_eq!(values(&fetch(node, None, "", 0).await), expected(5.0, 3.0));
        // The rest of the file after a break.
        let rest = fetch(node, Some("default"), &head, 100).await;
        assert_eq!(
            (rest.header.offset, rest.header.total_bytes),
            (100, own.file.len() as u64)
        );
        assert_eq!(rest.file, own.file[100..]);
        heads.push(own.header.checkpoint.unwrap());
    }
    assert!(
        heads
            .windows(2)
            .all(|pair| pair[0].weights_digest == pair[1].weights_digest)
    );
    let round = nodes[0].round(MODEL, Some(1)).await.unwrap();
    assert!(
        round.contributions.iter().all(|c| c.total_bytes < 64),
        "one number travels: {round:?}"
    );

    // A trainer that leaves its personal tensors out keeps them, also when the node is killed.
    for node in &nodes {
        let base = fetch(node, Some(""), "", 0).await;
        submit(node, &base.id(), "", &[("w", &[4.0])]).await.unwrap();
    }
    nodes[1].wait_for_round(MODEL, 2).await;
    let killed = swarm.daemons.remove(1).kill_and_restart();
    let own = fetch(&killed.node(), Some(""), "", 0).await;
    assert_eq!(values(&own), expected(20.0, 4.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_kinds_is_refused_by_name() {
    let swarm = Swarm::start(1).await;
    let node = &swarm.nodes()[0];
    let patterns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (wrong, personal, frozen) in [
        ("personal", &["norm.*"][..], &[][..]),
        ("frozen", &["own"], &["*"]),
        ("data", &["own", "w"], &["table"]),
        ("personal", &["own"; 65], &[]),
        ("frozen[0]", &[], &["a\nb"]),
    ] {
        let bad = pb::CreateModelRequest {
            personal: patterns(personal),
            frozen: patterns(frozen),
            ..request()
        };
        let status = node.create(bad).await.unwrap_err();
        assert_eq!(
            (status.code(), field(&status)),
            (Code::InvalidArgument, wrong.into()),
            "{status:?}"
        );
    }
    let model = node.create(request()).await.unwrap();
    let base = fetch(node, None, "", 0).await.id();
    let whole: &[f32] = &[1.0, 2.0, 3.0];
    for (said, tensors) in [
        (
            "\"table\" is frozen",
            &[("w", &[1.0][..]), ("table", &[1.0, 2.0, 4.0])][..],
        ),
        ("\"w\" is missing", &[("own", &[1.0, 1.0]), ("table", whole)]),
        ("\"x\" is not one of", &[("w", &[1.0]), ("x", &[1.0])]),
        ("\"own\": shape", &[("w", &[1.0]), ("own", &[1.0])]),
        ("\"own\": element 1 is NaN", &[("w", &[1.0]), ("own", &[1.0, f32::NAN])]),
    ] {
        let status = submit(node, &base, "", tensors).await.unwrap_err();
        assert_eq!((status.code(), field(&status)), (Code::InvalidArgument, "data".into()));
        assert!(status.message().contains(said), "{status:?}");
    }
    let delta = pb::SubmitWeightsRequest {
        model: MODEL.into(),
        base: base.clone(),
        samples: 1,
        kind: pb::SubmissionKind::Delta.into(),
        ..Default::default()
    };
    let both = file(&[("w", &[1.0]), ("own", &[1.0, 1.0])]);
    let status = node.submit_with(delta.clone(), &both).await.unwrap_err();
    assert!(status.message().contains("shared tensors only"), "{status:?}");
    let successor = pb::CreateModelRequest {
        succeeds: model.id,
        data: vec![].into(),
        ..request()
    };
    let status = node.create(successor).await.unwrap_err();
    assert_eq!(field(&status), "personal", "{status:?}");
    assert_eq!(
        values(&fetch(node, Some(""), "", 0).await),
        expected(5.0, 0.0),
        "nothing was kept"
    );
    node.submit_with(delta, &file(&[("w", &[1.0])])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_from_a_seed_has_frozen_and_personal_tensors_too() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    let tensor = |name: &str| pb::TensorSpec {
        name: name.into(),
        dtype: "F32".into(),
        shape: vec![2, 3],
        ..Default::default()
    };
    let seeded = |name: &str, personal: &[&str], frozen: &[&str]| pb::CreateModelRequest {
        data: vec![].into(),
        tensors: ["a", "b", "c"].map(tensor).into(),
        seed: Some(7),
        personal: personal.iter().map(|name| (*name).to_owned()).collect(),
        frozen: frozen.iter().map(|name| (*name).to_owned()).collect(),
        ..vector_model(name, &[])
    };
    nodes[0].create(seeded("plain", &[], &[])).await.unwrap();
    let plain = nodes[0].fetch("plain", "").await.unwrap().file;
    let kinds = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        ..seeded("kinds", &["c"], &["a"])
    };
    nodes[0].create(kinds).await.unwrap();
    nodes[1].join("kinds").await;
    for node in &nodes {
        assert_eq!(
            node.fetch("kinds", "").await.unwrap().file,
            plain,
            "the same numbers from one seed"
        );
    }
    let mut said = seeded("said", &[], &[]);
    said.tensors[1].kind = pb::TensorKind::Frozen.into();
    let status = nodes[0].create(said).await.unwrap_err();
    assert_eq!(field(&status), "tensors[1].kind", "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_and_frozen_tensors_go_on_in_a_successor() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let (ids, old) = (node_ids(&nodes).await, model_of(&nodes[..2], request()).await);
    for (node, own) in nodes.iter().zip([10.0, 20.0]) {
        let base = fetch(node, Some(""), "", 0).await.id();
        submit(node, &base, "", &[("w", &[3.0]), ("own", &[own, own])])
            .await
            .unwrap();
    }
    for node in &nodes[..2] {
        node.wait_for_round(MODEL, 1).await;
    }
    let change = pb::ChangeMembersRequest {
        model: MODEL.into(),
        add: vec![ids[2].clone()],
        remove: vec![],
    };
    nodes[0].models().change_members(change).await.unwrap();
    wait::until("the proposal", || async {
        let request = pb::AcceptMembersRequest {
            model: MODEL.into(),
            ..Default::default()
        };
        nodes[1].models().accept_members(request).await.ok()
    })
    .await;
    let successor = |node: Node| {
        let old = old.id.clone();
        async move {
            wait::until("the successor", || async {
                let model = node.model(MODEL).await.ok()?;
                (model.succeeds == old && model.standing() == pb::ModelStanding::Joined).then_some(model)
            })
            .await
        }
    };
    let new = successor(nodes[0].clone()).await;
    successor(nodes[1].clone()).await;
    nodes[2].join(&format!("{MODEL}@{}", new.id)).await;
    nodes[2].wait_for_round(MODEL, 0).await;
    for (node, own) in nodes.iter().zip([10.0, 20.0, 5.0]) {
        assert_eq!(values(&fetch(node, Some(""), "", 0).await), expected(own, 3.0));
    }
    assert_eq!(new.fixed_digest, old.fixed_digest);
    assert_eq!((new.tensors, new.tensor_count), (old.tensors, 3));

    // A successor by hand.
    let by_hand = pb::CreateModelRequest {
        succeeds: new.id,
        data: vec![].into(),
        ..vector_model(MODEL, &[])
    };
    let by_hand = nodes[1].create(by_hand).await.unwrap();
    assert_eq!(by_hand.fixed_digest, old.fixed_digest);
    assert_eq!(values(&fetch(&nodes[1], Some(""), "", 0).await), expected(20.0, 3.0));
}
