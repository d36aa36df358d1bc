//! Gossip that no honest node sends.

use qres_fed::record::{Contribution, Signed};
use qres_node::identity::Identity;
use qres_node::mesh::Topic;

use super::peer::epiphany;
use super::{Scene, bytes_of, contribution};

#[tokio::test(flavor = "multi_thread")]
async fn garbage_forgeries_and_replays_cost_their_sender_and_no_one_else() {
    let scene = Scene::start(2).await;
    let (peer, victim) = (&scene.peer, scene.ids[0]);
    for length in 1..=6usize {
        // Field 1 announces more bytes than follow.
        let garbage = [&[0x0a, 0x7f][..], &vec![0xee; length]].concat();
        peer.mesh.publish(Topic::Epiphany, garbage).await.unwrap();
    }
    // Signed by the liar, said to be the victim's.
    let own = scene.contribution(&[5.0]);
    let mut forged = Contribution {
        author: victim,
        ..own.record.clone()
    };
    peer.announce(&peer.identity.sign(forged.clone())).await;
    // Rightly signed by a member that is not who publishes it.
    let other = Identity::ephemeral();
    peer.announce(&contribution(&other, scene.spec.id(), scene.base, 1, &bytes_of(&[1.0])))
        .await;
    // A wrong signature under its own name.
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
    // What people read is not what is signed.
    let mut embellished = epiphany(&own);
    embellished.epiphany.as_mut().unwrap().fidelity_score = 0.5;
    peer.gossip(&embellished).await;
    // Weights that are not the contribution's.
    let mut stuffed = epiphany(&own);
    stuffed.epiphany.as_mut().unwrap().weights = bytes_of(&[6.0]);
    peer.gossip(&stuffed).await;
    scene.seen("the liar's score to fall", |peer| peer.score < 0.0).await;
    let sealed = scene.honest_round().await;
    let authors = scene.authors(sealed.round()).await;
    assert!(!authors.contains(&peer.node()), "{authors:?}");
    // What the victim said goes round again under another's name: nothing new comes of it.
    assert_eq!(scene.honest_round().await.round(), 2);
    assert!(
        scene
            .swarm
            .daemons
            .iter()
            .all(|daemon| !daemon.log().contains("panicked"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_contribution_announced_again_and_again_counts_once() {
    let scene = Scene::start(2).await;
    let peer = &scene.peer;
    peer.serve(|_| super::peer::Service::Right);
    peer.put(&bytes_of(&[3.0]));
    let mine = scene.contribution(&[3.0]);
    for turn in 0..20 {
        // Another traceparent makes other bytes: gossip itself does not see that they say the same.
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
