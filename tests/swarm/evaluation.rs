//! What members measure, the best checkpoint, the end of a run, and the strategies that use what trainers say: on real nodes.

use qres_api::pb;
use qres_tests::node::Fetched;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Node, Options, Swarm};
use tonic::Code;

use crate::rounds::node_ids;
use crate::{field, head, vector_model};

fn metric(name: &str, goal: pb::MetricGoal) -> pb::Metric {
    pb::Metric {
        name: name.into(),
        goal: goal.into(),
    }
}

pub(super) fn rule(id: &str, numbers: &[(&str, f64)]) -> Option<pb::Rule> {
    let params = numbers.iter().map(|(name, number)| ((*name).to_owned(), *number));
    Some(pb::Rule {
        id: id.into(),
        params: params.collect(),
    })
}

/// Makes a model of all nodes, each of which joins it.
pub(super) async fn model_of(nodes: &[Node], request: pb::CreateModelRequest) -> pb::Model {
    let request = pb::CreateModelRequest {
        members: node_ids(nodes).await,
        min_contributions: request.min_contributions.or(Some(u32::try_from(nodes.len()).unwrap())),
        ..request
    };
    let model = nodes[0].create(request).await.unwrap();
    for node in &nodes[1..] {
        node.join(&model.name).await;
    }
    model
}

/// The message of a trainer that says these numbers about its work.
fn work(model: &str, base: &str, metrics: &[(&str, f64)]) -> pb::SubmitWeightsRequest {
    let metrics = metrics.iter().map(|(name, number)| ((*name).to_owned(), *number));
    pb::SubmitWeightsRequest {
        model: model.into(),
        base: base.into(),
        samples: 10,
        metrics: metrics.collect(),
        ..Default::default()
    }
}

async fn fetch(node: &Node, model: &str, checkpoint: &str) -> Result<Fetched, tonic::Status> {
    let request = pb::FetchWeightsRequest {
        model: model.into(),
        checkpoint: checkpoint.into(),
        ..Default::default()
    };
    node.fetch_with(request).await
}

/// Losses of the checkpoints of the first rounds; all later ones are worse.
const LOSSES: [f64; 4] = [0.9, 0.4, 0.6, 0.5];

/// Lets each node submit on its head once, and waits for the next one everywhere.
async fn play(nodes: &[Node], model: &str, at: u64) {
    let loss = LOSSES.get(usize::try_from(at).unwrap()).copied().unwrap_or(2.0);
    for (i, node) in nodes.iter().enumerate() {
        let base = node.wait_for_round(model, at).await;
        let spread = 0.01 * i as f64;
        let header = pb::SubmitWeightsRequest {
            evaluation_samples: Some(10 * (1 + i as u64)),
            ..work(
                model,
                &base.id(),
                &[("loss", loss + spread), ("accuracy", 1.0 - loss), ("secret", 7.0)],
            )
        };
        let weights = vector(&[at as f32 + 1.0]);
        node.submit_with(header, &weights).await.unwrap();
    }
    for node in nodes {
        node.wait_for_round(model, at + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_measure_the_base_and_the_best_checkpoint_stays() {
    let options = Options {
        arguments: vec!["--retention".into(), "1".into()],
        ..Options::default()
    };
    let mut swarm = Swarm::start_with(3, &options).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        metrics: vec![
            metric("loss", pb::MetricGoal::Lowest),
            metric("accuracy", pb::MetricGoal::Highest),
            metric("unmeasured", pb::MetricGoal::Highest),
        ],
        max_staleness: Some(0),
        ..vector_model("measured", &[0.0])
    };
    model_of(&nodes, request).await;
    let early = fetch(&nodes[0], "measured", "best").await.unwrap_err();
    assert_eq!((early.code(), field(&early)), (Code::NotFound, "checkpoint".into()));
    for at in 0..14 {
        play(&nodes, "measured", at).await;
    }
    // Round 2 measured checkpoint 1, the same on every node, and nothing else travelled.
    let first = nodes[0].round("measured", Some(2)).await.unwrap();
    let named: Vec<_> = first
        .evaluation
        .iter()
        .map(|e| (e.metric.as_ref().unwrap().name.as_str(), e.members, e.samples))
        .collect();
    assert_eq!(named, [("loss", 3, 60), ("accuracy", 3, 60)]);
    let loss = &first.evaluation[0];
    assert_eq!((loss.min, loss.middle, loss.max), (0.4, 0.4 + 0.01, 0.4 + 0.02));
    assert!(
        (loss.mean - (0.4 + 0.41 * 2.0 + 0.42 * 3.0) / 6.0).abs() < 1e-12,
        "{loss:?}"
    );
    for node in &nodes[1..] {
        assert_eq!(
            node.round("measured", Some(2)).await.unwrap().evaluation,
            first.evaluation
        );
    }
    // Checkpoint 2 is long gone from the disk; the best one stays, and survives a restart.
    let gone = nodes[0]
        .round("measured", Some(2))
        .await
        .unwrap()
        .checkpoint
        .unwrap()
        .id;
    qres_tests::wait::until("the old checkpoint to be collected", || async {
        fetch(&nodes[0], "measured", &gone).await.is_err().then_some(())
    })
    .await;
    let restarted = swarm.daemons.remove(0).kill_and_restart();
    let node = restarted.node();
    node.wait_for_round("measured", 14).await;
    for name in ["best", "best:loss", "best:accuracy"] {
        let best = fetch(&node, "measured", name).await.unwrap();
        assert_eq!((best.round(), read_vector(&best.file)), (1, vec![1.0]), "{name}");
    }
    assert_eq!(
        node.round("measured", Some(2)).await.unwrap().evaluation,
        first.evaluation
    );
    let never = fetch(&node, "measured", "best:unmeasured").await.unwrap_err();
    assert_eq!(never.code(), Code::NotFound);
    let unknown = fetch(&node, "measured", "best:nonsense").await.unwrap_err();
    assert_eq!(
        (unknown.code(), field(&unknown)),
        (Code::InvalidArgument, "checkpoint".into())
    );
    assert!(unknown.message().contains("loss, accuracy, unmeasured"), "{unknown:?}");
}

/// Waits until the run is complete on every node, and returns its last checkpoint, which is one.
async fn completed(nodes: &[Node], model: &str) -> Fetched {
    let mut all = vec![];
    for node in nodes {
        let request = pb::FetchWeightsRequest {
            model: model.into(),
            trainer: Some("default".into()),
            ..Default::default()
        };
        let fetched = node.fetch_with(request).await.unwrap();
        assert!(fetched.header.complete, "round {}", fetched.round());
        let shown = node.model(model).await.unwrap();
        assert_eq!(shown.standing(), pb::ModelStanding::Complete);
        assert_eq!(head(&shown), fetched.id());
        all.push(fetched);
    }
    let first = all.swap_remove(0);
    assert!(
        all.iter()
            .all(|other| (other.id(), &other.file) == (first.id(), &first.file))
    );
    assert!(first.header.checkpoint.as_ref().unwrap().confirmed);
    first
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_with_its_last_round_and_says_so() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    // An optimiser would move the weights in every round, also by an update of zeros.
    let request = pb::CreateModelRequest {
        max_rounds: Some(2),
        strategy: rule("fedavgm/1", &[]),
        ..vector_model("short", &[0.0])
    };
    model_of(&nodes, request).await;
    for at in 0..2 {
        play(&nodes, "short", at).await;
    }
    let last = completed(&nodes, "short").await;
    assert_eq!(last.round(), 2);
    // A caller that waits for something newer gets the same answer at once.
    let again = nodes[1].fetch("short", &last.id()).await.unwrap();
    assert!(again.header.complete && again.id() == last.id());
    let refused = nodes[2]
        .submit("short", &last.id(), 1, &vector(&[9.0]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("the run ends with round 2"), "{refused:?}");
    assert!(nodes[0].round("short", Some(3)).await.unwrap().closing);
    let restarted = swarm.daemons.remove(0).kill_and_restart();
    let after = completed(&[restarted.node()], "short").await;
    assert_eq!((after.id(), after.file), (last.id(), last.file));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_the_members_measure_what_is_good_enough() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let until = |value| {
        Some(pb::MetricTarget {
            metric: "loss".into(),
            value,
        })
    };
    let request = pb::CreateModelRequest {
        metrics: vec![metric("loss", pb::MetricGoal::Lowest)],
        until: until(0.45),
        ..vector_model("enough", &[0.0])
    };
    model_of(&nodes, request).await;
    // Round 2 measures a loss of 0.4 on checkpoint 1.
    for at in 0..2 {
        play(&nodes, "enough", at).await;
    }
    assert_eq!(completed(&nodes, "enough").await.round(), 2);
    for (request, wrong) in [
        (
            pb::CreateModelRequest {
                until: until(0.1),
                ..vector_model("bad", &[0.0])
            },
            "until",
        ),
        (
            pb::CreateModelRequest {
                max_rounds: Some(0),
                ..vector_model("bad", &[0.0])
            },
            "max_rounds",
        ),
        (
            pb::CreateModelRequest {
                metrics: vec![metric("loss", pb::MetricGoal::Lowest); 2],
                ..vector_model("bad", &[0.0])
            },
            "metrics",
        ),
        (
            pb::CreateModelRequest {
                metrics: vec![metric("loss", pb::MetricGoal::Unspecified)],
                ..vector_model("bad", &[0.0])
            },
            "metrics[0].goal",
        ),
    ] {
        let status = nodes[0].create(request).await.unwrap_err();
        assert_eq!(
            (status.code(), field(&status)),
            (Code::InvalidArgument, wrong.into()),
            "{status:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fednova_and_qfedavg_use_what_trainers_say() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let updates = [[1.0f32, 2.0, 3.0], [4.0, -5.0, 6.0], [0.5, 0.25, -1.0]];
    let losses = [0.5, 2.0, 1.25];
    let steps = [2.0, 8.0, 5.0];
    // Both results are those of crates/fed/tests/rules/weightings.rs, with equal samples.
    let mean_steps = 5.0;
    let nova = |c: usize| (0..3).map(|i| f64::from(updates[i][c]) / steps[i] / 3.0).sum::<f64>() * mean_steps;
    let nova = [nova(0), nova(1), nova(2)];
    let fair = [
        0.009_844_908_968_307_486,
        -0.009_372_892_784_895_483,
        0.013_216_453_135_536_075,
    ];
    for (name, strategy, expected, missing) in [
        ("nova", rule("fednova/1", &[]), nova, "steps"),
        (
            "fair",
            rule("qfedavg/1", &[("q", 1.0), ("learning_rate", 0.1)]),
            fair,
            "metrics",
        ),
    ] {
        let request = pb::CreateModelRequest {
            strategy,
            aggregation: rule("mean/1", &[]).into_iter().collect(),
            metrics: vec![metric("loss", pb::MetricGoal::Lowest)],
            ..vector_model(name, &[0.0; 3])
        };
        let base = head(&model_of(&nodes, request).await);
        let silent = nodes[0].submit_with(work(name, &base, &[]), &vector(&updates[0])).await;
        let silent = silent.unwrap_err();
        assert_eq!(
            (silent.code(), field(&silent)),
            (Code::InvalidArgument, missing.into()),
            "{silent:?}"
        );
        for (i, node) in nodes.iter().enumerate() {
            let header = pb::SubmitWeightsRequest {
                steps: Some(steps[i]),
                ..work(name, &base, &[("loss", losses[i])])
            };
            node.submit_with(header, &vector(&updates[i])).await.unwrap();
        }
        let mut files = vec![];
        for node in &nodes {
            files.push(node.wait_for_round(name, 1).await.file);
        }
        assert!(files.iter().all(|file| *file == files[0]), "{name}");
        let near = |(x, y): (&f32, &f64)| (f64::from(*x) - y).abs() < 1e-6;
        assert!(
            read_vector(&files[0]).iter().zip(&expected).all(near),
            "{name}: {:?}",
            read_vector(&files[0])
        );
        let shown = nodes[1].round(name, Some(1)).await.unwrap();
        let mut said: Vec<_> = shown.contributions.iter().filter_map(|c| c.steps).collect();
        said.sort_by(f64::total_cmp);
        assert_eq!(said, [2.0, 5.0, 8.0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fedbuff_goes_on_with_k_and_takes_the_others_as_late_work() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        strategy: rule("fedbuff/1", &[("staleness_exponent", 1.0)]),
        aggregation: rule("mean/1", &[]).into_iter().collect(),
        min_contributions: Some(2),
        ..vector_model("buffered", &[0.0])
    };
    let model = model_of(&nodes, request).await;
    assert_eq!(model.rounds.as_ref().unwrap().target, Some(2));
    let zero = head(&model);
    for node in &nodes[..2] {
        node.submit("buffered", &zero, 10, &vector(&[1.0])).await.unwrap();
    }
    let first = nodes[2].wait_for_round("buffered", 1).await;
    assert_eq!(read_vector(&first.file), [1.0]);
    // The third one comes a round late: its difference counts half, (1 + 1)^-1.
    let late = nodes[2].submit("buffered", &zero, 10, &vector(&[6.0])).await.unwrap();
    qres_tests::wait::until("the late work to be everywhere", || async {
        for node in &nodes[..2] {
            let open = node.round("buffered", None).await.ok()?;
            open.contributions.iter().find(|c| c.late)?;
        }
        Some(())
    })
    .await;
    for node in &nodes[..2] {
        node.submit("buffered", &first.id(), 10, &vector(&[1.0])).await.unwrap();
    }
    let second = nodes[2].wait_for_round("buffered", 2).await;
    // 10 and 10 samples change nothing, 5 of 25 add 6.
    assert_eq!(read_vector(&second.file), [1.0 + 6.0 / 5.0]);
    let sealed = nodes[2].submission(&late.id, true).await.unwrap();
    assert_eq!(
        (sealed.state(), sealed.weight_ppm),
        (pb::SubmissionState::Sealed, 200_000)
    );
}
