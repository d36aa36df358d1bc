//! The metrics of rounds that a member missed, and that it caught up with.

use qres_api::pb;
use qres_tests::scrape::scrape;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Node, Options, Swarm, wait};

use crate::rounds::node_ids;
use crate::{head, vector_model};

/// Returns the value of a series on the page of a daemon; 0 if it is not there.
fn value(daemon: &Daemon, series: &str) -> u64 {
    let page = scrape(daemon.metrics.as_ref().unwrap());
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    line.unwrap_or(0)
}

fn rounds(daemon: &Daemon, outcome: &str) -> u64 {
    value(
        daemon,
        &format!("qres_rounds_total{{model=\"counted\",outcome=\"{outcome}\"}}"),
    )
}

/// Makes the next round with the trainers of these nodes; returns its checkpoint.
async fn round(nodes: &[Node], base: &str, number: u64) -> String {
    for (i, node) in nodes.iter().enumerate() {
        let weights = vector(&[number as f32 + i as f32]);
        node.submit("counted", base, 1, &weights).await.unwrap();
    }
    let mut id = String::new();
    for node in nodes {
        id = node.wait_for_round("counted", number).await.id();
    }
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_are_counted_by_their_outcome_and_who_is_missing_is_counted() {
    let options = Options {
        arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let Swarm { bootstrap, mut daemons } = Swarm::start_with(3, &options).await;
    let nodes: Vec<_> = daemons.iter().map(Daemon::node).collect();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        deadline_ms: Some(2_000),
        ..vector_model("counted", &[0.0])
    };
    let zero = head(&nodes[0].create(request).await.unwrap());
    for node in &nodes[1..] {
        node.join("counted").await;
        node.wait_for_round("counted", 0).await;
    }
    // A member is away: the round waits for it, then closes without it. Later rounds do not wait.
    let away = daemons.remove(2).kill();
    let first = round(&nodes[..2], &zero, 1).await;
    round(&nodes[..2], &first, 2).await;
    for daemon in &daemons {
        wait::until("both rounds to be counted", || async {
            (rounds(daemon, "partial") == 2).then_some(())
        })
        .await;
        assert_eq!(rounds(daemon, "complete"), 0);
        let missing = "qres_round_contributions_total{model=\"counted\",part=\"missing\"}";
        assert_eq!(value(daemon, missing), 2);
        assert_eq!(value(daemon, "qres_round_duration_seconds_count{model=\"counted\"}"), 2);
    }
    let back = away.start();
    back.node().wait_for_round("counted", 2).await;
    // It fetches the records of both rounds. Whether a round's contributions came before its seal is a matter of timing.
    wait::until("two rounds to be caught up with", || async {
        (rounds(&back, "caught_up") + rounds(&back, "partial") == 2).then_some(())
    })
    .await;
    assert_eq!(rounds(&back, "complete") + rounds(&back, "replaced"), 0);
    drop(bootstrap);
}
