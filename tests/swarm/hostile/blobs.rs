//! Contributions whose blobs never arrive, arrive with wrong bytes, or are no valid updates.

use qres_api::pb::PeerState;
use qres_tests::weights::read_vector;

use super::peer::Service;
use super::{Scene, bytes_of};

/// Announces a contribution of the liar, and asserts that the honest nodes seal a round without it.
async fn goes_on_without(scene: &Scene) {
    scene.peer.announce(&scene.contribution(&[3.0])).await;
    let sealed = scene.honest_round().await;
    assert_eq!(sealed.round(), 1);
    assert_eq!(read_vector(&sealed.file), [10.0]);
    let authors = scene.authors(1).await;
    assert!(!authors.contains(&scene.peer.node()), "{authors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_never_comes_costs_a_deadline_and_its_announcer_the_score() {
    let scene = Scene::start(2).await;
    scene.peer.put(&bytes_of(&[3.0]));
    scene.peer.serve(|_| Service::Silent);
    goes_on_without(&scene).await;
    scene.seen("the liar's score to fall", |peer| peer.score < 0.0).await;
    assert_eq!(scene.honest_round().await.round(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_its_announcer_denies_having_costs_a_deadline_and_its_announcer_the_score() {
    let scene = Scene::start(2).await;
    scene.peer.serve(|_| Service::Absent);
    goes_on_without(&scene).await;
    scene.seen("the liar's score to fall", |peer| peer.score < 0.0).await;
    assert_eq!(scene.honest_round().await.round(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_serves_other_bytes_is_sent_away_and_the_peer_list_says_why() {
    let scene = Scene::start(2).await;
    scene.peer.put(&bytes_of(&[3.0]));
    scene.peer.serve(|_| Service::Wrong);
    goes_on_without(&scene).await;
    let sent_away = |peer: &qres_api::pb::Peer| {
        peer.score <= -40.0 && matches!(peer.state(), PeerState::Refused | PeerState::Banned) && !peer.reason.is_empty()
    };
    scene.seen("the forger to be sent away", sent_away).await;
    assert_eq!(scene.honest_round().await.round(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_given_to_one_alone_is_fetched_from_that_one() {
    let scene = Scene::start(3).await;
    let favoured = scene.ids[1];
    scene.peer.put(&bytes_of(&[4.0]));
    scene.peer.serve(move |node| {
        if node == favoured {
            Service::Right
        } else {
            Service::Absent
        }
    });
    scene.peer.announce(&scene.contribution(&[4.0])).await;
    // Each node counts the contribution only once it holds the blob.
    scene.gathered(1).await;
    scene.submit(scene.base, 8.0).await;
    let sealed = scene.agreed(1).await;
    assert!(scene.authors(1).await.contains(&scene.peer.node()));
    // (4 + 8 + 8 + 8) / 4
    assert_eq!(read_vector(&sealed.file), [7.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_nan_is_never_aggregated() {
    let scene = Scene::start(2).await;
    scene.peer.serve(|_| Service::Right);
    let poison = bytes_of(&[f32::NAN]);
    scene.peer.put(&poison);
    scene.peer.announce(&scene.contribution_of(&poison)).await;
    let sealed = scene.honest_round().await;
    assert_eq!(read_vector(&sealed.file), [10.0]);
    assert!(!scene.authors(1).await.contains(&scene.peer.node()));
    scene
        .seen("the poisoner's score to fall", |peer| peer.score < 0.0)
        .await;
    assert_eq!(scene.honest_round().await.round(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_off_the_schema_is_never_aggregated() {
    let scene = Scene::start(2).await;
    scene.peer.serve(|_| Service::Right);
    let large = bytes_of(&[1.0, 2.0]);
    scene.peer.put(&large);
    scene.peer.announce(&scene.contribution_of(&large)).await;
    let sealed = scene.honest_round().await;
    assert_eq!(read_vector(&sealed.file), [10.0]);
    assert!(!scene.authors(1).await.contains(&scene.peer.node()));
    assert_eq!(scene.honest_round().await.round(), 2);
}
