//! The collector is killed and started again while rounds go on.

use qres_tests::collector::environment;
use qres_tests::{Daemon, wait};
use tokio::time::Instant;

use crate::collector::Collector;
use crate::swarm::Three;

fn count(daemon: &Daemon, text: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(text)).count()
}

/// The lines of a log that ask for attention.
fn warnings(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let loud = log
        .lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "));
    loud.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_dies_and_comes_back_costs_one_line_each_and_no_round() {
    let Some(mut collector) = Collector::start().await else {
        return;
    };
    let mut three = Three::start(environment(&collector.endpoint())).await;
    three.round(None).await;
    wait::until("spans to arrive", || async {
        (!collector.traces().spans().is_empty()).then_some(())
    })
    .await;
    for outage in 1..=2 {
        collector.kill();
        for _ in 0..5 {
            three.round(None).await;
        }
        for daemon in three.daemons() {
            daemon.log_has("takes no traces").await;
            wait::until("one complaint for each outage", || async {
                (count(daemon, "takes no traces") == outage).then_some(())
            })
            .await;
        }
        for _ in 0..5 {
            three.round(None).await;
        }
        let before = collector.traces().spans().len();
        collector.run().await;
        // The exporter tries again with the next spans, which a round makes. The killed collector may have left half a line, which
        // spoils the first batch after it; so one batch is not enough.
        let start = Instant::now();
        let silent = |daemon: &Daemon| count(daemon, "takes traces again") < outage;
        while three.daemons().iter().any(silent) || collector.traces().spans().len() <= before {
            assert!(start.elapsed() < wait::DEADLINE, "no spans arrive again");
            three.round(None).await;
        }
        for daemon in three.daemons() {
            assert_eq!(count(daemon, "takes no traces"), outage, "{}", daemon.log());
            assert_eq!(count(daemon, "takes traces again"), outage, "{}", daemon.log());
            assert_eq!(
                warnings(daemon).len(),
                outage,
                "nothing else is worth a WARN: {:?}",
                warnings(daemon)
            );
        }
    }
    three.assert_no_round_was_missed();
}
