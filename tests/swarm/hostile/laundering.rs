//! A stranger creates an open model that names blobs of a list model. A node that has joined both models must neither use nor
//! serve these blobs as blobs of the open model.

use qres_api::pb;
use qres_fed::id::{BlobId, SpecId};
use qres_fed::record::{Content, Membership, RoundPolicy, Rule, Seal, Signed, Spec, StateRecord};
use qres_tests::weights::{read_vector, vector};

use super::peer::Service;
use super::{Scene, bytes_of, contribution, wire};

/// Starts a [`Scene`] with a list model of two honest nodes, and a stranger that serves the blobs on its shelf. Returns the file
/// of the head, too. Its value is 15, the mean of 10 and 20.
async fn scene() -> (Scene, Vec<u8>) {
    let scene = Scene::with(2, false).await;
    scene.peer.serve(|_| Service::Right);
    for (node, value) in scene.nodes.iter().zip([10.0, 20.0]) {
        let base = scene.base.to_string();
        node.submit("hostile", &base, 1, &vector(&[value]))
            .await
            .expect("submitted");
    }
    let sealed = scene.agreed(1).await;
    assert_eq!(read_vector(&sealed.file), [15.0]);
    (scene, sealed.file)
}

/// Returns the [`Spec`] of an open model of the stranger on these first weights. Its rounds close with one contribution, and
/// its checkpoints name the state of an optimiser, too.
fn open_spec(scene: &Scene, checkpoint0: BlobId) -> Signed<Spec> {
    scene.peer.identity.sign(Spec {
        name: "stolen".parse().expect("a name"),
        membership: Membership::Open,
        rounds: RoundPolicy {
            min_contributions: 1,
            target: Some(1),
            ..scene.spec.rounds.clone()
        },
        strategy: Rule::new("fedavgm/1"),
        checkpoint0,
        creator: scene.peer.node(),
        ..scene.spec.clone()
    })
}

/// Lets the first honest node join the stranger's model, as if its operator wanted that. Returns the `name@id` of the model.
async fn victim_joins(scene: &Scene, spec: &Signed<Spec>) -> String {
    scene.peer.announce_spec(spec).await;
    let name = format!("stolen@{}", spec.record.id());
    scene.nodes[0].join(&name).await;
    name
}

async fn refused(scene: &Scene, spec: SpecId, blob: BlobId) {
    for under in [spec, SpecId(blob.0), scene.spec.id()] {
        let (status, bytes) = scene.peer.read_blob(scene.ids[0], under, blob).await;
        assert_ne!(status, wire::OK);
        assert!(bytes.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_model_on_private_weights_has_no_first_checkpoint_here() {
    let (scene, head) = scene().await;
    let private = BlobId::of(&head);
    let spec = open_spec(&scene, private);
    let name = victim_joins(&scene, &spec).await;
    // The node itself holds this blob for the list model. It must not use its copy, so it asks the stranger.
    scene.peer.until_asked_for(private).await;
    refused(&scene, spec.record.id(), private).await;
    let model = scene.nodes[0].model(&name).await.expect("known");
    assert_eq!(model.standing(), pb::ModelStanding::Syncing, "no weights, no head");
    // If the stranger has the weights itself and serves them, no secret is given away.
    scene.peer.put(&head);
    assert_eq!(scene.nodes[0].wait_for_round(&name, 0).await.file, head);
    // The list model goes on.
    assert_eq!(scene.honest_round().await.round(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_update_counts_in_no_open_model() {
    let (scene, _) = scene().await;
    let first = vector(&[1.0]);
    let spec = open_spec(&scene, scene.peer.put(&first));
    let name = victim_joins(&scene, &spec).await;
    let base = scene.nodes[0].wait_for_round(&name, 0).await;
    let id = spec.record.id();
    let update = bytes_of(&[10.0]);
    let base_id = base.id().parse().expect("an id");
    let stolen = contribution(&scene.peer.identity, id, base_id, 1, &update);
    scene.peer.announce(&stolen).await;
    // k = 1: if the node used its own copy, the round would be sealed. Its result, the sum of base and secret, would be public.
    scene.peer.until_asked_for(BlobId::of(&update)).await;
    refused(&scene, id, BlobId::of(&update)).await;
    let round = pb::GetRoundRequest {
        model: name.clone(),
        round: None,
    };
    let round = scene.nodes[0]
        .rounds()
        .get_round(round)
        .await
        .expect("a round")
        .into_inner();
    assert_eq!(round.round.expect("the open round").round, 1, "nothing is sealed");
    assert_eq!(scene.honest_round().await.round(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_result_or_state_is_not_an_open_model_s() {
    let (scene, head) = scene().await;
    let spec = open_spec(&scene, scene.peer.put(&vector(&[1.0])));
    let name = victim_joins(&scene, &spec).await;
    let base = scene.nodes[0].wait_for_round(&name, 0).await;
    let (id, private) = (spec.record.id(), BlobId::of(&head));
    // The contribution can be read. The seal claims that its result is the head of the list model.
    let update = bytes_of(&[1.0]);
    let base_id = base.id().parse().expect("an id");
    let honest = contribution(&scene.peer.identity, id, base_id, 1, &update);
    let seal = scene.peer.identity.sign(Seal {
        spec: id,
        round: 1,
        parent: base_id,
        fresh: vec![honest.record.id()],
        late: vec![],
        proofs: vec![],
        result: Content {
            weights: private,
            optimiser: Some(private),
        },
        sealer: scene.peer.node(),
    });
    let state = scene.peer.identity.sign(StateRecord {
        spec: id,
        publisher: scene.peer.node(),
        name: "stolen".into(),
        sequence: 1,
        timestamp_unix_ms: 1,
        fidelity: 1.0,
        blob: private,
        bytes: head.len() as u64,
    });
    scene.peer.announce_state(&state).await;
    scene.peer.until_asked_for(private).await;
    refused(&scene, id, private).await;
    scene.peer.announce_seal(&seal).await;
    scene.peer.put(&update);
    scene.peer.announce(&honest).await;
    // The node's own trainer submits, too: a round is sealed, and its result is not the one that the stranger's seal claims.
    let trained = scene.nodes[0].submit(&name, &base.id(), 1, &vector(&[3.0])).await;
    trained.expect("submitted");
    let sealed = scene.nodes[0].wait_for_round(&name, 1).await;
    assert_ne!(sealed.file, head);
}
