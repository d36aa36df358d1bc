//! The page docs/metrics.md describes each metric that a daemon exposes, and nothing else.

use std::cell::RefCell;
use std::collections::BTreeSet;

use qres_api::pb;
use qres_tests::scrape::scrape;
use qres_tests::wait::until;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, Swarm};

/// Returns the names of the metrics on a page as a query writes them: the name of a counter ends in `_total`.
fn exposed(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let name = |line: &str| {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let end = if kind == "counter" { "_total" } else { "" };
        format!("{name}{end}")
    };
    types.map(name).collect()
}

/// Returns the names in docs/metrics.md: the first column of the table rows that begin with a name.
fn described() -> BTreeSet<String> {
    let path = super::root().join("docs/metrics.md");
    let text = std::fs::read_to_string(path).expect("docs/metrics.md is there");
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

/// Makes three rounds on a [`Daemon`], and waits until the first submission is final.
async fn learn(daemon: &Daemon) {
    let node = daemon.node();
    let create = pb::CreateModelRequest {
        name: "counted".into(),
        data: vector(&[0.0, 0.0]).into(),
        metrics: vec![pb::Metric {
            name: "loss".into(),
            goal: pb::MetricGoal::Lowest.into(),
        }],
        ..Default::default()
    };
    let model = node.create(create).await.expect("a new model");
    let mut base = model.head.expect("a joined model has a head").id;
    let mut first = None;
    // The second round confirms the checkpoint of the first round, and the third round settles it.
    for value in [1.0, 2.0, 3.0] {
        let weights = vector(&[value, value]);
        let header = pb::SubmitWeightsRequest {
            model: "counted".into(),
            base: base.clone(),
            samples: 1,
            metrics: [("loss".to_owned(), f64::from(1.0 / (1.0 + value)))].into(),
            ..Default::default()
        };
        let submission = node.submit_with(header, &weights).await.expect("taken");
        first.get_or_insert(submission.id);
        base = node.fetch("counted", &base).await.expect("a next head").id();
    }
    let noise = pb::Rule {
        id: "gaussian/1".into(),
        params: [("clip".to_owned(), 1.0), ("noise_multiplier".to_owned(), 1.0)].into(),
    };
    let create = pb::CreateModelRequest {
        name: "noisy".into(),
        data: vector(&[0.0, 0.0]).into(),
        privacy: Some(noise),
        ..Default::default()
    };
    node.create(create).await.expect("a second model");
    let first = first.expect("three were submitted");
    until("the first submission to be final", || async {
        let submission = node.submission(&first, false).await.ok()?;
        submission.r#final.then_some(())
    })
    .await;
}

/// What a page says after [`learn`], on a node with two peers.
const FIGURES: &[&str] = &[
    "qres_model_head_round{model=\"counted\"} 3",
    "qres_model_metric{model=\"counted\",metric=\"loss\"} 0.25",
    "qres_model_confirmed_round{model=\"counted\"} 2",
    "qres_model_open_round_contributions{model=\"counted\"} 0",
    "qres_submissions_total{model=\"counted\",state=\"sealed\"} 1",
    "qres_model_privacy_epsilon{model=\"noisy\"} 0.0",
    "qres_models_joined 2",
    "qres_commit_failures_total 0",
    "qres_job_duration_seconds_count{work=\"encode\"} 3",
    "qres_ready 1",
    "qres_rounds_total{model=\"counted\",outcome=\"complete\"} 3",
    "qres_round_duration_seconds_count{model=\"counted\"} 3",
    "qres_round_contributions_total{model=\"counted\",part=\"fresh\"} 3",
    "qres_contributions_total{model=\"counted\",verdict=\"taken\",reason=\"open_round\"} 3",
    "qres_mesh_peers{state=\"connected\",transport=\"tcp\"} 2",
];

/// Waits until all `lines` are on the page at `url`, and returns the page. The metrics follow what a caller sees, a moment later.
async fn page_with(url: &str, lines: &[&str]) -> String {
    let last = RefCell::new(Vec::new());
    until("every figure to be on the page", || async {
        let page = scrape(url);
        let missing: Vec<_> = lines
            .iter()
            .filter(|line| page.lines().all(|found| found != **line))
            .collect();
        if missing != *last.borrow() {
            eprintln!("not on the page: {missing:?}");
            last.replace(missing.clone());
        }
        missing.is_empty().then_some(page)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_described_and_every_description_is_a_metric() {
    let options = Options {
        arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let swarm = Swarm::start_with(2, &options).await;
    let daemon = &swarm.daemons[0];
    let url = daemon.metrics.clone().expect("the banner says where the admin port is");
    learn(daemon).await;
    let page = page_with(&url, FIGURES).await;
    for other in swarm.daemons.iter().chain([&swarm.bootstrap]) {
        assert!(!page.contains(&other.peer_id), "no peer id is a label:\n{page}");
    }
    let names: BTreeSet<_> = page.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let types = page.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(names.len(), types, "no metric is on the page twice");
    let (exposed, described) = (exposed(&page), described());
    let missing: Vec<_> = exposed.difference(&described).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not describe {missing:?}");
    // A series of the library appears with its first event, such as a dial that fails.
    let of_library = |name: &&String| name.starts_with("libp2p_");
    let stale: Vec<_> = described
        .difference(&exposed)
        .filter(|name| !of_library(name))
        .collect();
    assert!(
        stale.is_empty(),
        "docs/metrics.md describes what no daemon exposes: {stale:?}"
    );
}
