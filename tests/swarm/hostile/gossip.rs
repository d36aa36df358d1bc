//! Gossip that no honest node sends.

use qres_fed::id::{BlobId, CheckpointId, ContributionId};
use qres_fed::record::{Content, Contribution, Seal, Signed};
use qres_node::identity::Identity;
use qres_node::mesh::{HeadClaim, Topic};

use super::peer::epiphany;
use super::{Scene, bytes_of, contribution};

/// Publishes enough garbage to make the score of the liar fall.
async fn babble(scene: &Scene) {
    for length in 1..=16usize {
        // Field 1 announces more bytes than follow.
        let garbage = [&[0x0a, 0x7f][..], &vec![0xee; length]].concat();
        scene.peer.mesh.publish(Topic::Epiphany, garbage).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_costs_its_sender_and_no_one_else() {
    let scene = Scene::with(2, false).await;
    babble(&scene).await;
    scene.seen("the liar's score to fall", |peer| peer.score < 0.0).await;
    assert_eq!(scene.honest_round().await.round(), 1);
    scene.nobody_panicked();
}

#[tokio::test(flavor = "multi_thread")]
async fn forgeries_cost_their_sender_and_are_in_no_round() {
    let scene = Scene::start(2).await;
    let (peer, victim) = (&scene.peer, scene.ids[0]);
    // All blobs are available, so a round could list the forgeries if a node accepted them.
    peer.serve(|_| super::peer::Service::Right);
    for value in [1.0, 5.0, 6.0] {
        peer.put(&bytes_of(&[value]));
    }
    // The liar signs this contribution, but it names the victim as the author.
    let own = scene.contribution(&[5.0]);
    let mut forged = Contribution {
        author: victim,
        ..own.record.clone()
    };
    peer.announce(&peer.identity.sign(forged.clone())).await;
    // The author signs this contribution correctly, but another peer publishes it.
    let other = Identity::ephemeral();
    peer.announce(&contribution(&other, scene.spec.id(), scene.base, 1, &bytes_of(&[1.0])))
        .await;
    // The liar names itself as the author, but the signature is wrong: it belongs to another record.
    forged.author = peer.node();
    let signature = peer
        .identity
        .sign(Contribution {
            samples: 2,
            ..forged.clone()
        })
        .signature;
    peer.announce(&Signed {
        record: forged,
        signature,
    })
    .await;
    // The fidelity score that people read is not the signed one.
    let mut embellished = epiphany(&own);
    embellished.epiphany.as_mut().unwrap().fidelity_score = 0.5;
    peer.gossip(&embellished).await;
    // The weights in the envelope are not the update of the contribution.
    let mut stuffed = epiphany(&own);
    stuffed.epiphany.as_mut().unwrap().weights = bytes_of(&[6.0]);
    peer.gossip(&stuffed).await;
    // Nodes hear the messages in this order: when the garbage costs score, they have looked at the forgeries.
    babble(&scene).await;
    scene.seen("the liar's score to fall", |peer| peer.score < 0.0).await;
    let sealed = scene.honest_round().await;
    let mut authors = scene.authors(sealed.round()).await;
    authors.sort_unstable();
    let mut honest = scene.ids.clone();
    honest.sort_unstable();
    assert_eq!(authors, honest);
    assert_eq!(
        qres_tests::weights::read_vector(&sealed.file),
        [10.0],
        "what the honest ones said"
    );
    assert_eq!(scene.honest_round().await.round(), 2);
    scene.nobody_panicked();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_contribution_announced_again_and_again_counts_once() {
    let scene = Scene::start(2).await;
    let peer = &scene.peer;
    peer.serve(|_| super::peer::Service::Right);
    peer.put(&bytes_of(&[3.0]));
    let mine = scene.contribution(&[3.0]);
    for turn in 0..20 {
        // Another traceparent makes other bytes, so gossip itself does not see that the contribution is the same.
        let mut again = epiphany(&mine);
        again.traceparent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902{turn:02x}-01");
        peer.gossip(&again).await;
    }
    scene.gathered(1).await;
    scene.submit(scene.base, 9.0).await;
    let sealed = scene.agreed(1).await;
    assert_eq!(scene.authors(1).await.len(), 3);
    // (3 + 9 + 9) / 3
    assert_eq!(qres_tests::weights::read_vector(&sealed.file), [7.0]);
    for turn in 0..20 {
        let mut late = epiphany(&mine);
        late.traceparent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba903{turn:02x}-01");
        peer.gossip(&late).await;
    }
    let next = scene.honest_round().await;
    assert_eq!(next.round(), 2);
    assert_eq!(scene.authors(2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_and_heads_beyond_all_measure_harm_nobody() {
    let scene = Scene::start(2).await;
    let peer = &scene.peer;
    peer.serve(|_| super::peer::Service::Right);
    let (spec, nowhere) = (scene.spec.id(), CheckpointId([9; 32]));
    let update = bytes_of(&[3.0]);
    peer.put(&update);
    let claim = |checkpoint, round| HeadClaim {
        spec,
        checkpoint,
        round,
    };
    peer.heads
        .send(vec![claim(nowhere, u64::MAX), claim(scene.base, u64::MAX - 1)])
        .unwrap();
    for round in [0, 2, u64::MAX - 1, u64::MAX] {
        // No node knows this parent, so no node can tell that the round is wrong.
        peer.announce(&contribution(&peer.identity, spec, nowhere, round, &update))
            .await;
        let seal = Seal {
            spec,
            round,
            parent: nowhere,
            fresh: vec![ContributionId([1; 32]), ContributionId([2; 32])],
            late: vec![],
            proofs: vec![],
            result: Content::of_weights(BlobId([3; 32])),
            sealer: peer.node(),
        };
        peer.announce_seal(&peer.identity.sign(seal)).await;
    }
    let sealed = scene.honest_round().await;
    assert_eq!(sealed.round(), 1);
    // All nodes know this parent, so each can tell that the round is wrong.
    peer.announce(&contribution(&peer.identity, spec, scene.base, u64::MAX, &update))
        .await;
    scene.seen("the liar's score to fall", |peer| peer.score < 0.0).await;
    assert_eq!(scene.honest_round().await.round(), 2);
    scene.nobody_panicked();
}
