//! Access to blobs: every kind of blob, every standing of the reader, every way to ask.

use qres_api::pb;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::ndarray::array;
use qres_fed::record::Rule;
use qres_fed::tensor::to_safetensors;
use qres_tests::weights::vector;

use super::{Scene, bytes_of, wire};
use crate::vector_model;

/// The blobs of a list model after a round in which two nodes submitted 10 and 20, by kind.
struct Private {
    /// Blobs that members may read.
    of_members: Vec<(&'static str, BlobId)>,
    /// Blobs that a trainer sent to its own node. No other node may read them.
    of_node: Vec<(&'static str, BlobId)>,
}

impl Private {
    /// Makes these blobs on the two honest nodes of a [`Scene`].
    async fn make(scene: &Scene) -> Self {
        let state = vector(&[0.5, 0.25]);
        let request = pb::PublishStateRequest {
            model: "hostile".into(),
            name: "world".into(),
            codec: Some(pb::Rule {
                id: "none/1".into(),
                ..Default::default()
            }),
            data: state.clone().into(),
            ..Default::default()
        };
        scene.nodes[0].states().publish_state(request).await.expect("published");
        for (node, value) in scene.nodes.iter().zip([10.0, 20.0]) {
            let base = scene.base.to_string();
            node.submit("hostile", &base, 1, &vector(&[value]))
                .await
                .expect("submitted");
        }
        let sealed = scene.agreed(1).await;
        assert_eq!(qres_tests::weights::read_vector(&sealed.file), [15.0]);
        let (coded, _) = qres_fed::state::encode(&state, &Rule::new("none/1")).expect("a state");
        Self {
            of_members: vec![
                ("checkpoint 0", BlobId::of(&vector(&[0.0]))),
                ("the head", BlobId::of(&sealed.file)),
                ("an update", BlobId::of(&bytes_of(&[10.0]))),
                ("another update", BlobId::of(&bytes_of(&[20.0]))),
                ("a state", BlobId::of(&coded)),
            ],
            of_node: vec![
                ("a submission", BlobId::of(&vector(&[10.0]))),
                ("another submission", BlobId::of(&vector(&[20.0]))),
            ],
        }
    }

    fn all(&self) -> impl Iterator<Item = &(&'static str, BlobId)> {
        self.of_members.iter().chain(&self.of_node)
    }
}

/// Creates an open model on the same nodes. A request under this model must give no blob of the list model.
async fn open_model(scene: &Scene) -> SpecId {
    let request = pb::CreateModelRequest {
        open: true,
        min_contributions: Some(1),
        target: Some(1),
        ..vector_model("open", &[7.0])
    };
    let open = scene.nodes[0].create(request).await.expect("a model");
    scene.nodes[1].join(&format!("open@{}", open.id)).await;
    scene.nodes[1].wait_for_round("open", 0).await;
    open.id.parse().expect("a spec id")
}

/// Lists every model under which a blob can be requested, besides its own.
fn elsewhere(open: SpecId, blob: BlobId) -> [(&'static str, SpecId); 3] {
    [
        ("under its own digest", SpecId(blob.0)),
        ("under an open model", open),
        ("under an unknown model", SpecId([7; 32])),
    ]
}

async fn refused(scene: &Scene, node: NodeId, spec: SpecId, blob: BlobId, what: &str) {
    let (status, bytes) = scene.peer.read_blob(node, spec, blob).await;
    assert!(status == wire::DENIED || status == wire::NOT_FOUND, "{what}: {status}");
    assert!(bytes.is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reads_no_blob_of_a_list_model_however_asked_for() {
    let scene = Scene::with(2, false).await;
    let (private, open) = (Private::make(&scene).await, open_model(&scene).await);
    let spec = scene.spec.id();
    for node in &scene.ids {
        for (kind, blob) in private.all() {
            refused(&scene, *node, spec, *blob, kind).await;
            for (way, other) in elsewhere(open, *blob) {
                refused(&scene, *node, other, *blob, &format!("{kind}, {way}")).await;
            }
        }
        // Every peer may read the specs, and the weights of an open model under that model.
        for spec in [spec, open] {
            assert_eq!(scene.peer.read_blob(*node, spec, spec.into()).await.0, wire::OK);
        }
        let weights = BlobId::of(&vector(&[7.0]));
        assert_eq!(
            scene.peer.read_blob(*node, open, weights).await,
            (wire::OK, vector(&[7.0]))
        );
        refused(
            &scene,
            *node,
            spec,
            weights,
            "an open model's weights under the list model",
        )
        .await;
        refused(&scene, *node, open, spec.into(), "a spec under another model").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_its_model_s_blobs_under_that_model_alone_and_no_submission() {
    let scene = Scene::start(2).await;
    let (private, open) = (Private::make(&scene).await, open_model(&scene).await);
    for node in &scene.ids {
        for (kind, blob) in &private.of_members {
            let (status, bytes) = scene.peer.read_blob(*node, scene.spec.id(), *blob).await;
            assert_eq!(status, wire::OK, "{kind}");
            assert_eq!(BlobId::of(&bytes), *blob, "{kind}");
            for (way, other) in elsewhere(open, *blob) {
                refused(&scene, *node, other, *blob, &format!("{kind}, {way}")).await;
            }
        }
        for (kind, blob) in &private.of_node {
            refused(&scene, *node, scene.spec.id(), *blob, kind).await;
            refused(&scene, *node, SpecId(blob.0), *blob, kind).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_the_fixed_tensors_and_no_trainer_s_personal_ones() {
    let scene = Scene::start(2).await;
    let tensors = |own: f32, w: f32| {
        to_safetensors(
            [("own", array![own]), ("w", array![w])]
                .iter()
                .map(|(n, a)| (*n, a.view())),
        )
    };
    let liar = scene.peer.node();
    let members = scene.ids.iter().chain([&liar]).map(ToString::to_string);
    let request = pb::CreateModelRequest {
        members: members.collect(),
        personal: vec!["own".into()],
        data: tensors(5.0, 0.0).into(),
        ..vector_model("personal", &[])
    };
    let model = scene.nodes[0].create(request).await.expect("a model");
    let spec: SpecId = model.id.parse().expect("a spec id");
    let base = model.head.expect("a head").id;
    let sent = tensors(10.0, 3.0);
    scene.nodes[0]
        .submit("personal", &base, 1, &sent)
        .await
        .expect("submitted");
    let request = pb::FetchWeightsRequest {
        model: "personal".into(),
        checkpoint: base,
        trainer: Some(String::new()),
        ..Default::default()
    };
    let own = scene.nodes[0]
        .fetch_with(request)
        .await
        .expect("fetched")
        .header
        .personal_digest;
    let own: BlobId = own.parse().expect("a digest");
    let fixed: BlobId = model.fixed_digest.parse().expect("a digest");
    assert_eq!(scene.peer.read_blob(scene.ids[0], spec, fixed).await.0, wire::OK);
    for (kind, blob) in [("personal tensors", own), ("a submission", BlobId::of(&sent))] {
        for under in [spec, scene.spec.id(), SpecId(blob.0)] {
            refused(&scene, scene.ids[0], under, blob, kind).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_member_reads_neither_the_new_model_nor_the_old_one() {
    let scene = Scene::start(2).await;
    let private = Private::make(&scene).await;
    let request = pb::CreateModelRequest {
        name: "hostile".into(),
        members: scene.ids.iter().map(ToString::to_string).collect(),
        succeeds: scene.spec.id().to_string(),
        codec: vector_model("hostile", &[]).codec,
        ..Default::default()
    };
    let new = scene.nodes[0].create(request).await.expect("a successor");
    scene.nodes[1].join(&format!("hostile@{}", new.id)).await;
    scene.nodes[1].wait_for_round(&format!("hostile@{}", new.id), 0).await;
    let new: SpecId = new.id.parse().expect("a spec id");
    // The old head is the new model's first checkpoint.
    for node in &scene.ids {
        for (kind, blob) in private.all() {
            for spec in [new, scene.spec.id(), SpecId(blob.0)] {
                refused(&scene, *node, spec, *blob, kind).await;
            }
        }
    }
}
