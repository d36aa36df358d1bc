//! The page docs/metrics.md describes each alert, and each metric of a query.

use std::collections::BTreeSet;

use crate::prometheus::chart;

/// Returns the words of a text that begin with one of the prefixes of this project's metrics or alerts.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_alert_is_described_and_tested_and_every_metric_of_a_query_is_described() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let page = read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
    let (rules, tests) = (read(&chart("files/rules.yaml")), read(&chart("tests/rules_test.yaml")));
    let alerts: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(alerts, words(&page, "Qres"), "the alerts in docs/metrics.md");
    assert_eq!(alerts, words(&tests, "Qres"), "the alerts that have a test");
    let described: BTreeSet<_> = ["qres_", "rpc_server_", "libp2p_"]
        .iter()
        .flat_map(|prefix| words(&page, prefix))
        .collect();
    let dashboard = read(&chart("files/dashboard.json"));
    for text in [&rules, &dashboard] {
        for prefix in ["qres_", "rpc_server_", "libp2p_"] {
            for metric in words(text, prefix) {
                // A query names a histogram by one of its parts.
                let whole = ["_bucket", "_count", "_sum"]
                    .iter()
                    .find_map(|end| metric.strip_suffix(end));
                let known = described.contains(&metric) || whole.is_some_and(|whole| described.contains(whole));
                assert!(known, "docs/metrics.md does not describe {metric}");
            }
        }
    }
}
