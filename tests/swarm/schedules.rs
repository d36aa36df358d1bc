//! Numbers for trainers that change from round to round, on real nodes.

use std::collections::BTreeMap;

use qres_api::pb;
use qres_tests::Swarm;
use tonic::Code;

use crate::evaluation::{model_of, rule};
use crate::{field, vector_model};

fn schedule(curve: pb::ScheduleCurve, points: &[(u64, f64)]) -> pb::Schedule {
    let point = |&(round, value)| pb::SchedulePoint { round, value };
    pb::Schedule {
        curve: curve.into(),
        points: points.iter().map(point).collect(),
    }
}

fn scheduled(name: &str, schedules: &[(&str, pb::Schedule)]) -> pb::CreateModelRequest {
    let schedules = schedules
        .iter()
        .map(|(name, schedule)| ((*name).to_owned(), schedule.clone()));
    pb::CreateModelRequest {
        strategy: rule("fedprox/1", &[]),
        schedules: schedules.collect(),
        ..vector_model(name, &[0.0])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trainers_get_the_numbers_of_their_round_also_from_a_successor() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let schedules = [
        ("mu", schedule(pb::ScheduleCurve::Linear, &[(1, 1.0), (5, 0.0)])),
        ("local_epochs", schedule(pb::ScheduleCurve::Step, &[(1, 5.0), (3, 1.0)])),
    ];
    model_of(&nodes, scheduled("falls", &schedules)).await;
    let config =
        |mu, epochs| -> BTreeMap<String, f64> { [("mu".to_owned(), mu), ("local_epochs".to_owned(), epochs)].into() };
    for (at, expected) in [config(1.0, 5.0), config(0.75, 5.0), config(0.5, 1.0)]
        .into_iter()
        .enumerate()
    {
        for node in &nodes {
            let base = node.wait_for_round("falls", at as u64).await;
            assert_eq!(base.header.trainer_config, expected, "round {}", at + 1);
            if at < 2 {
                node.submit("falls", &base.id(), 1, &base.file).await.unwrap();
            }
        }
    }
    let shown = nodes[1].model("falls").await.unwrap();
    assert_eq!((shown.trainer_config, shown.earlier_rounds), (config(0.5, 1.0), 0));
    assert_eq!(shown.schedules["mu"], schedules[0].1);
    // The successor begins at its own round 1, which is the run's third.
    let successor = pb::CreateModelRequest {
        succeeds: shown.id,
        members: shown.members,
        data: vec![].into(),
        ..scheduled("falls", &schedules)
    };
    let successor = nodes[1].create(successor).await.unwrap();
    assert_eq!(
        (successor.trainer_config, successor.earlier_rounds),
        (config(0.5, 1.0), 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_schedules_are_refused_by_field() {
    let swarm = Swarm::start(1).await;
    let node = &swarm.nodes()[0];
    let falls = |points: &[(u64, f64)]| schedule(pb::ScheduleCurve::Linear, points);
    for (wrong, name, bad) in [
        ("schedules", "mu", falls(&[])),
        ("schedules", "mu", falls(&[(0, 1.0)])),
        ("schedules", "mu", falls(&[(2, 1.0), (1, 0.5)])),
        ("schedules", "mu", falls(&[(1, -1.0)])),
        ("schedules", "momentum", falls(&[(1, 0.5)])),
        ("schedules", "local_epochs", falls(&[(1, 5.0), (9, 1.0)])),
        ("schedules[mu].points", "mu", falls(&[(1, 0.5); 65])),
        ("schedules[mu].points[0].value", "mu", falls(&[(1, f64::NAN)])),
        (
            "schedules[mu].curve",
            "mu",
            schedule(pb::ScheduleCurve::Unspecified, &[(1, 0.5)]),
        ),
    ] {
        // The strategy needs mu in any case; the last one of a name counts.
        let schedules = [("mu", falls(&[(1, 0.5)])), (name, bad)];
        let status = node.create(scheduled("bad", &schedules)).await.unwrap_err();
        assert_eq!(
            (status.code(), field(&status)),
            (Code::InvalidArgument, wrong.into()),
            "{status:?}"
        );
    }
    let twice = pb::CreateModelRequest {
        strategy: rule("fedprox/1", &[("mu", 0.1)]),
        ..scheduled("bad", &[("mu", falls(&[(1, 0.5)]))])
    };
    let status = node.create(twice).await.unwrap_err();
    assert!(status.message().contains("give one or the other"), "{status:?}");
}
