//! Seals that no honest node makes.

use qres_fed::id::{BlobId, ContributionId, NodeId};
use qres_fed::record::{Content, Figures, Seal, Signed};
use qres_fed::update::{Outputs, Parent, Weighted, aggregate};
use qres_tests::weights::vector;

use super::peer::Service;
use super::{Scene, bytes_of};

impl Scene {
    /// Returns a [`Seal`] of round 1 that the liar signed.
    fn seal(&self, fresh: &[ContributionId], result: &[u8]) -> Signed<Seal> {
        let mut fresh = fresh.to_vec();
        fresh.sort();
        self.peer.identity.sign(Seal {
            spec: self.spec.id(),
            round: 1,
            parent: self.base,
            fresh,
            late: vec![],
            proofs: vec![],
            result: Content::of_weights(BlobId::of(result)),
            sealer: self.peer.node(),
        })
    }

    /// Waits until every honest node knows all contributions of the honest nodes to the open round, and returns their ids.
    async fn honest(&self) -> Vec<ContributionId> {
        let liar = self.peer.node().to_string();
        self.gathered(self.nodes.len()).await;
        let round = super::round(&self.nodes[0], None).await;
        let honest = round.contributions.iter().filter(|c| c.author != liar);
        honest.map(|c| c.id.parse().expect("an id")).collect()
    }
}

/// Asserts that the honest nodes of a [`Scene`] seal round 1 by themselves, with this value, and go on.
async fn goes_on(scene: &Scene, expected: f32) {
    let sealed = scene.agreed(1).await;
    assert_eq!(sealed.file, vector(&[expected]));
    let round = super::round(&scene.nodes[0], Some(1)).await;
    let liar = scene.peer.node().to_string();
    assert!(!round.sealers.contains(&liar), "{round:?}");
    let next = scene.honest_round().await;
    assert_eq!(next.round(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_below_k_is_refused_and_its_sealer_shown_as_a_forger() {
    let scene = Scene::start(2).await;
    scene.peer.serve(|_| Service::Right);
    scene.peer.put(&bytes_of(&[3.0]));
    let mine = scene.contribution(&[3.0]);
    scene.peer.announce(&mine).await;
    scene.gathered(1).await;
    scene
        .peer
        .announce_seal(&scene.seal(&[mine.record.id()], &vector(&[3.0])))
        .await;
    scene
        .seen("the sealer's score to fall", |peer| peer.score <= -40.0)
        .await;
    scene.submit(scene.base, 9.0).await;
    // The contribution of the liar still counts: (3 + 9 + 9) / 3.
    goes_on(&scene, 7.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_of_what_nobody_can_fetch_holds_nobody_up() {
    let scene = Scene::start(2).await;
    scene.peer.serve(|_| Service::Absent);
    scene.submit(scene.base, 9.0).await;
    let honest = scene.honest().await;
    let withheld = scene.contribution(&[3.0]);
    scene.peer.announce(&withheld).await;
    // The first seal lists a contribution whose blob is withheld, the second one a contribution that does not exist.
    for missing in [withheld.record.id(), ContributionId([9; 32])] {
        scene
            .peer
            .announce_seal(&scene.seal(&[honest[0], missing], &vector(&[6.0])))
            .await;
    }
    goes_on(&scene, 9.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_with_a_wrong_result_is_recomputed_and_refused() {
    let scene = Scene::start(2).await;
    scene.peer.serve(|_| Service::Right);
    let result = vector(&[666.0]);
    scene.peer.put(&result);
    scene.submit(scene.base, 9.0).await;
    let honest = scene.honest().await;
    scene.peer.announce_seal(&scene.seal(&honest, &result)).await;
    scene
        .seen("the sealer's score to fall", |peer| peer.score <= -40.0)
        .await;
    goes_on(&scene, 9.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_valid_seals_of_one_sealer_leave_one_head() {
    let scene = Scene::start(2).await;
    scene.peer.serve(|_| Service::Right);
    scene.submit(scene.base, 9.0).await;
    let honest = scene.honest().await;
    let update = bytes_of(&[3.0]);
    scene.peer.put(&update);
    let mine = scene.contribution(&[3.0]);
    scene.peer.announce(&mine).await;
    for other in honest {
        // (3 + 9) / 2 with either of the two honest contributions: only the lists of the two seals differ.
        let (base, theirs) = (vector(&[0.0]), bytes_of(&[9.0]));
        let parent = Parent {
            id: scene.base,
            weights: &base,
            optimiser: None,
        };
        let weighted = [(&update, scene.peer.node()), (&theirs, NodeId([0xff; 32]))].map(|(update, author)| Weighted {
            update,
            author,
            samples: 1,
            staleness: 0,
            figures: Figures::default(),
        });
        let mut result = vec![];
        aggregate(&scene.spec, parent, &weighted, &[], Outputs::of_weights(&mut result)).unwrap();
        scene
            .peer
            .announce_seal(&scene.seal(&[mine.record.id(), other], &result))
            .await;
    }
    let sealed = scene.agreed(1).await;
    // In whichever order the seals were made, all nodes stand on the same one of the valid seals, and go on from there.
    assert!([vector(&[6.0]), vector(&[7.0]), vector(&[9.0])].contains(&sealed.file));
    assert_eq!(scene.honest_round().await.round(), sealed.round() + 1);
    scene
        .seen("the liar's connection to stand", |peer| peer.score > -40.0)
        .await;
}
