//! Noise on updates, and what it costs, on real nodes.

use qres_api::pb;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Node, Swarm};
use tonic::Code;
use tonic_types::StatusExt;

use crate::evaluation::{model_of, rule};
use crate::{field, vector_model};

/// Elements of the model: enough to measure a standard deviation to 2 %.
const ELEMENTS: usize = 4096;

/// The ε of one and of two releases with a noise multiplier of 4 and a δ of 1e-5; three cost 1.8473. The figures were computed with a page of
/// Python from the formulas of Mironov 2017 and Canonne, Kamath & Steinke 2020.
const EPSILON: [f64; 2] = [1.012_550_627_752_643_5, 1.478_121_967_952_188];

fn noisy(name: &str, id: &str, numbers: &[(&str, f64)]) -> pb::CreateModelRequest {
    let always = [("clip", 2.0), ("noise_multiplier", 4.0)];
    pb::CreateModelRequest {
        privacy: rule(id, &[&always, numbers].concat()),
        ..vector_model(name, &vec![0.0; ELEMENTS])
    }
}

fn deviation(weights: &[f32]) -> f64 {
    (weights.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / weights.len() as f64).sqrt()
}

/// Lets every node submit the weights of its head, with a sample count of its own, and returns the new head's weights, which
/// are the same everywhere.
async fn play(nodes: &[Node], model: &str, at: u64) -> Vec<f32> {
    for (node, samples) in nodes.iter().zip([7, 100, 3_000]) {
        let base = node.wait_for_round(model, at).await;
        let header = pb::SubmitWeightsRequest {
            model: model.into(),
            base: base.id(),
            samples,
            steps: Some(50.0),
            ..Default::default()
        };
        node.submit_with(header, &base.file).await.unwrap();
    }
    let mut files = vec![];
    for node in nodes {
        files.push(node.wait_for_round(model, at + 1).await.file);
    }
    assert!(files.iter().all(|file| *file == files[0]), "round {}", at + 1);
    read_vector(&files[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_adds_noise_counts_what_it_spends_and_stops_in_time() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = noisy("private", "gaussian/1", &[("epsilon_max", 1.8)]);
    model_of(&nodes, request).await;
    let weights = play(&nodes, "private", 0).await;
    // Trainers changed nothing: the head is the mean of three vectors of noise with the deviation 8.
    let expected = 8.0 / 3f64.sqrt();
    assert!(
        (deviation(&weights) / expected - 1.0).abs() < 0.06,
        "{}",
        deviation(&weights)
    );
    let later = play(&nodes, "private", 1).await;
    let product: f64 = weights
        .iter()
        .zip(&later)
        .map(|(w, l)| f64::from(*w) * f64::from(l - w))
        .sum();
    let likeness = product / expected.powi(2) / (ELEMENTS as f64).sqrt();
    assert!(likeness.abs() < 5.0, "two rounds have one noise: {likeness}");
    let daemon = swarm.daemons.remove(0).kill_and_restart();
    let restarted = daemon.node();
    restarted.wait_for_round("private", 2).await;
    for (node, number) in [(&nodes[1], 2), (&nodes[2], 1), (&restarted, 2)] {
        let round = node.round("private", Some(number)).await.unwrap();
        assert_eq!(round.contributions.len(), 3);
        for contribution in &round.contributions {
            let spent = contribution.privacy_spent.unwrap();
            assert_eq!((spent.releases, spent.delta), (number, 1e-5));
            let expected = EPSILON[usize::try_from(number).unwrap() - 1];
            assert!((spent.epsilon - expected).abs() < 1e-9, "{spent:?}");
            let told = (contribution.samples, contribution.steps);
            assert_eq!(told, (1, None), "they would say how much data there is");
        }
    }
    // The third update would cost more than the model allows; a restart forgets nothing.
    for node in [&restarted, &nodes[1]] {
        let spent = node.model("private").await.unwrap().privacy_spent.unwrap();
        assert_eq!(spent.releases, 2);
        let base = node.wait_for_round("private", 2).await;
        let refused = node.submit("private", &base.id(), 1, &base.file).await.unwrap_err();
        let reason = refused.get_details_error_info().unwrap().reason;
        assert_eq!(
            (refused.code(), reason.as_str()),
            (Code::FailedPrecondition, "PRIVACY_SPENT")
        );
        assert!(refused.message().contains("epsilon_max of 1.8"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_noise_of_a_sum_and_no_update_is_longer_than_the_clip() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    model_of(&nodes, noisy("shared", "distributed-gaussian/1", &[])).await;
    // All three together have the noise that one member alone would have: 8, a third of it in the mean.
    let weights = play(&nodes, "shared", 0).await;
    assert!(
        (deviation(&weights) / (8.0 / 3.0) - 1.0).abs() < 0.06,
        "{}",
        deviation(&weights)
    );

    let clipped = pb::CreateModelRequest {
        privacy: rule("gaussian/1", &[("clip", 2.0), ("noise_multiplier", 1e-6)]),
        ..vector_model("clipped", &vec![0.0; ELEMENTS])
    };
    model_of(&nodes, clipped).await;
    for node in &nodes {
        let base = node.wait_for_round("clipped", 0).await;
        let far = vector(&vec![1e6; ELEMENTS]);
        node.submit("clipped", &base.id(), 1, &far).await.unwrap();
    }
    let weights = read_vector(&nodes[0].wait_for_round("clipped", 1).await.file);
    let length = deviation(&weights) * (ELEMENTS as f64).sqrt();
    assert!((length - 2.0).abs() < 1e-3, "{length}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_undo_the_noise_is_refused_by_field() {
    let swarm = Swarm::start(1).await;
    let node = &swarm.nodes()[0];
    let loss = pb::Metric {
        name: "loss".into(),
        goal: pb::MetricGoal::Lowest.into(),
    };
    for (wrong, request) in [
        ("privacy", noisy("bad", "gaussian/2", &[])),
        ("privacy", noisy("bad", "gaussian/1", &[("sigma", 1.0)])),
        ("privacy", noisy("bad", "gaussian/1", &[("delta", 0.5)])),
        ("privacy", noisy("bad", "gaussian/1", &[("epsilon_max", 0.01)])),
        ("privacy.params", noisy("bad", "gaussian/1", &[("delta", f64::NAN)])),
        (
            "metrics",
            pb::CreateModelRequest {
                metrics: vec![loss],
                ..noisy("bad", "gaussian/1", &[])
            },
        ),
        (
            "strategy",
            pb::CreateModelRequest {
                strategy: rule("fednova/1", &[]),
                ..noisy("bad", "gaussian/1", &[])
            },
        ),
        (
            "max_staleness",
            pb::CreateModelRequest {
                max_staleness: Some(2),
                ..noisy("bad", "distributed-gaussian/1", &[])
            },
        ),
        (
            "aggregation",
            pb::CreateModelRequest {
                aggregation: rule("median/1", &[]).into_iter().collect(),
                ..noisy("bad", "distributed-gaussian/1", &[])
            },
        ),
    ] {
        let status = node.create(request).await.unwrap_err();
        assert_eq!(
            (status.code(), field(&status)),
            (Code::InvalidArgument, wrong.into()),
            "{status:?}"
        );
    }
    // A successor with less noise would make the count of the ε wrong.
    let model = node.create(noisy("kept", "gaussian/1", &[])).await.unwrap();
    let less = pb::CreateModelRequest {
        succeeds: model.id,
        data: vec![].into(),
        privacy: rule("gaussian/1", &[("clip", 2.0), ("noise_multiplier", 1.0)]),
        ..noisy("kept", "gaussian/1", &[])
    };
    let status = node.create(less.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), field(&status)),
        (Code::InvalidArgument, "privacy".into())
    );
    let base = node.wait_for_round("kept", 0).await;
    node.submit("kept", &base.id(), 1, &base.file).await.unwrap();
    node.wait_for_round("kept", 1).await;
    let same = pb::CreateModelRequest {
        privacy: noisy("kept", "gaussian/1", &[]).privacy,
        ..less
    };
    let successor = node.create(same).await.unwrap();
    assert_eq!(successor.privacy_spent.unwrap().releases, 1, "the count goes on");
}
