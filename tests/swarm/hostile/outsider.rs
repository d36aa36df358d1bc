//! A peer that is not a member of the model.

use qres_fed::id::BlobId;
use qres_tests::weights::vector;

use super::peer::Service;
use super::{Scene, bytes_of, wire};

#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_neither_reads_nor_writes_a_list_model() {
    let scene = Scene::with(2, false).await;
    let (peer, spec) = (&scene.peer, scene.spec.id());
    peer.serve(|_| Service::Right);
    peer.put(&bytes_of(&[100.0]));
    peer.announce(&scene.contribution(&[100.0])).await;
    let sealed = scene.honest_round().await;
    assert_eq!(qres_tests::weights::read_vector(&sealed.file), [10.0]);
    assert_eq!(peer.was_asked(), 0, "nobody asks for an outsider's blob");

    let first_weights = BlobId::of(&vector(&[0.0]));
    let head_weights = BlobId::of(&sealed.file);
    let update = BlobId::of(&bytes_of(&[10.0]));
    for node in &scene.ids {
        for blob in [first_weights, head_weights, update] {
            let (status, bytes) = peer.read_blob(*node, spec, blob).await;
            assert_eq!((status, bytes.len()), (wire::DENIED, 0), "{blob}");
        }
        let of_spec = || Some(wire::OfSpec { spec: spec.0.to_vec() });
        let digest = wire::SyncRequest {
            digest: of_spec(),
            ..Default::default()
        };
        assert_eq!(peer.sync(*node, &digest).await, (wire::SYNC_NOT_FOUND, 0));
        let states = wire::SyncRequest {
            states: of_spec(),
            ..Default::default()
        };
        assert_eq!(peer.sync(*node, &states).await, (wire::SYNC_OK, 0));
        // Ids of the honest nodes' contributions, which an outsider can learn from an envelope that it overhears.
        let mut keys = vec![];
        for contribution in super::round(&scene.nodes[0], Some(1)).await.contributions {
            keys.push(1);
            keys.extend(hex::decode(&contribution.id).unwrap());
        }
        assert_eq!(keys.len(), 2 * 33);
        let records = wire::SyncRecords {
            spec: spec.0.to_vec(),
            keys,
        };
        let records = wire::SyncRequest {
            records: Some(records),
            ..Default::default()
        };
        assert_eq!(peer.sync(*node, &records).await, (wire::SYNC_OK, 0));
    }
    // A request costs no score. Each contribution to a model of others costs some, but less than what makes nodes refuse a peer.
    assert_eq!(scene.honest_round().await.round(), 2);
    assert!(!scene.authors(1).await.contains(&peer.node()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_what_an_outsider_may_not() {
    let scene = Scene::start(2).await;
    let blob = BlobId::of(&vector(&[0.0]));
    let (status, bytes) = scene.peer.read_blob(scene.ids[0], scene.spec.id(), blob).await;
    assert_eq!((status, bytes), (wire::OK, vector(&[0.0])));
    let digest = wire::SyncRequest {
        digest: Some(wire::OfSpec {
            spec: scene.spec.id().0.to_vec(),
        }),
        ..Default::default()
    };
    assert_eq!(scene.peer.sync(scene.ids[0], &digest).await.0, wire::SYNC_OK);
    // The same blob is denied under another model.
    let elsewhere = qres_fed::id::SpecId([7; 32]);
    assert_eq!(
        scene.peer.read_blob(scene.ids[0], elsewhere, blob).await.0,
        wire::DENIED
    );
}
