//! Every aggregation rule in the rounds of three real nodes: the published figures, the same bits and the same verdicts.

use qres_api::pb;
use qres_node::identity::Identity;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Node, Options, Swarm};
use tonic::Code;

use crate::rounds::node_ids;
use crate::{field, head, vector_model};

/// The members' updates: ByzFL's documentation has the results of its rules for them.
const UPDATES: [[f32; 3]; 3] = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]];

fn rule(id: &str, numbers: &[(&str, f64)]) -> pb::Rule {
    pb::Rule {
        id: format!("{id}/1"),
        params: numbers
            .iter()
            .map(|(name, number)| ((*name).to_owned(), *number))
            .collect(),
    }
}

/// Makes a model of all nodes, lets each submit its update, and returns the aggregated update and the round as the nodes show it.
async fn play(nodes: &[Node], name: &str, rules: Vec<pb::Rule>, samples: [u64; 3]) -> (Vec<f32>, pb::Round) {
    let request = pb::CreateModelRequest {
        members: node_ids(nodes).await,
        aggregation: rules,
        min_contributions: Some(3),
        ..vector_model(name, &[0.0; 3])
    };
    let model = nodes[0].create(request).await.unwrap();
    for node in &nodes[1..] {
        node.join(name).await;
    }
    let base = head(&model);
    for ((node, update), samples) in nodes.iter().zip(UPDATES).zip(samples) {
        node.submit(name, &base, samples, &vector(&update)).await.unwrap();
    }
    let mut shown = vec![];
    for node in nodes {
        let fetched = node.wait_for_round(name, 1).await;
        let round = node.round(name, Some(1)).await.unwrap();
        shown.push((read_vector(&fetched.file), round));
    }
    let (result, round) = shown.remove(0);
    for (other, seen) in shown {
        assert_eq!(other, result, "{name}");
        assert_eq!(
            seen.contributions, round.contributions,
            "{name}: the verdicts are the same everywhere"
        );
    }
    (result, round)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_makes_its_published_result_on_three_nodes() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let f = |f: f64| [("f", f)];
    let (middle, lower) = ([4.0, 5.0, 6.0], [2.5, 3.5, 4.5]);
    let mean = || rule("mean", &[]);
    for (name, rules, expected) in [
        ("mean", vec![mean()], Some(middle)),
        ("median", vec![rule("median", &[])], Some(middle)),
        ("trimmed", vec![rule("trimmed-mean", &f(1.0))], Some(middle)),
        ("mda", vec![rule("mda", &f(1.0))], None),
        ("meamed", vec![rule("mean-around-median", &f(1.0))], Some(lower)),
        ("nnm", vec![rule("nnm", &f(1.0)), mean()], None),
        ("nnm-median", vec![rule("nnm", &f(1.0)), rule("median", &[])], None),
        (
            "arc",
            vec![rule("arc", &f(1.0))],
            Some([3.136_68, 4.013_349, 4.890_017]),
        ),
        (
            "clip",
            vec![rule("clip", &[("norm", 2.0)])],
            Some([0.817_116, 1.119_128, 1.421_14]),
        ),
        ("bucketing", vec![rule("bucketing", &[("size", 2.0)])], Some(middle)),
        (
            "geometric",
            vec![rule("geometric-median", &[("nu", 0.1), ("iterations", 3.0)])],
            Some([3.787_888, 4.787_888, 5.787_888]),
        ),
        (
            "clipping",
            vec![rule("centred-clipping", &[("radius", 100.0)])],
            Some(middle),
        ),
        ("krum", vec![rule("krum", &f(0.0))], None),
        ("krum-wider", vec![rule("krum-n-f-1", &f(0.0))], Some(middle)),
        ("multi-krum", vec![rule("multi-krum", &f(0.0))], Some(middle)),
        ("bulyan", vec![rule("bulyan", &f(0.0))], Some(middle)),
        ("fltrust", vec![rule("fltrust", &[])], None),
    ] {
        let (result, round) = play(&nodes, name, rules, [1; 3]).await;
        if let Some(expected) = expected {
            let near = result.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-5);
            assert!(near, "{name}: {result:?} is not {expected:?}");
        }
        let weights: f64 = round
            .contributions
            .iter()
            .map(|c| c.verdict.as_ref().unwrap().weight)
            .sum();
        assert!(weights > 0.1, "{name}: {weights}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_all_samples_gets_the_limit_and_a_verdict() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let (result, round) = play(&nodes, "claim", vec![], [1, 1, 1 << 40]).await;
    // A list of three has the limit 2/3: the two others share a third.
    let expected = [1.0f32 / 6.0 * 1.0 + 4.0 / 6.0 + 7.0 * 2.0 / 3.0, 0.0, 0.0];
    assert!((result[0] - expected[0]).abs() < 1e-5, "{result:?}");
    let of = |samples: u64| {
        let found = round.contributions.iter().find(|c| c.samples == samples);
        found.and_then(|c| c.verdict).unwrap()
    };
    let (liar, honest) = (of(1 << 40), of(1));
    assert!(
        liar.claimed > 0.999_999 && (liar.weight - 2.0 / 3.0).abs() < 1e-6,
        "{liar:?}"
    );
    assert!((honest.weight - 1.0 / 6.0).abs() < 1e-6, "{honest:?}");
    assert_eq!(
        nodes[1].model("claim").await.unwrap().strategy.unwrap().params["max_share"],
        2.0 / 3.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_cannot_work_are_refused_at_create() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let own = node_ids(std::slice::from_ref(&node)).await;
    let others = (1..5).map(|_| Identity::ephemeral().node().to_string());
    let members: Vec<String> = own.into_iter().chain(others).collect();
    let create = |rules: Vec<pb::Rule>, k: u32| pb::CreateModelRequest {
        members: members.clone(),
        aggregation: rules,
        min_contributions: Some(k),
        ..vector_model("refused", &[0.0])
    };
    for (rules, k, words) in [
        (
            vec![rule("krum", &[("f", 1.0)])],
            4,
            vec!["krum/1", "= 5 contributions", "may have 4", "raise min_contributions"],
        ),
        (vec![rule("trimmed-mean", &[("f", 3.0)])], 5, vec!["2 f + 1 = 7"]),
        (vec![rule("zeno", &[])], 3, vec!["zeno/1", "trimmed-mean/1"]),
        (
            vec![rule("median", &[]), rule("mean", &[])],
            3,
            vec!["must be the last"],
        ),
        (vec![rule("median", &[]); 5], 3, vec!["at most 4"]),
    ] {
        let status = node.create(create(rules, k)).await.unwrap_err();
        assert_eq!(
            (status.code(), field(&status)),
            (Code::InvalidArgument, "aggregation".into()),
            "{status:?}"
        );
        for word in words {
            assert!(
                status.message().contains(word),
                "{word:?} is not in {:?}",
                status.message()
            );
        }
    }
    // A list of five gets the trimmed mean; a smaller one the mean; and `mean/1` is taken at its word.
    let model = node.create(create(vec![], 3)).await.unwrap();
    assert_eq!(model.aggregation, [rule("trimmed-mean", &[("f", 1.0)])]);
    let plain = pb::CreateModelRequest {
        name: "plain".into(),
        ..create(vec![rule("mean", &[])], 3)
    };
    assert_eq!(node.create(plain).await.unwrap().aggregation, [rule("mean", &[])]);
}
