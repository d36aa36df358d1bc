//! Every query of the dashboard has an answer in a Prometheus that scraped three daemons.

use qres_tests::wait;
use serde_json::Value;

use crate::prometheus::{Prometheus, chart};
use crate::swarm::Three;

/// Returns the queries of all panels, with the title of the panel and the variables filled in.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(chart("files/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queries = vec![];
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let filled = query
                .replace("$__rate_interval", "1m")
                .replace("$instance", ".*")
                .replace("$model", ".*");
            assert!(!filled.contains('$'), "{title}: a variable is unknown here: {filled}");
            queries.push((title.to_owned(), filled));
        }
    }
    queries
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_of_the_dashboard_is_empty() {
    let mut three = Three::start(vec![]).await;
    three.round(None).await;
    let Some(prometheus) = Prometheus::start(&three.targets()).await else {
        return;
    };
    let queries = queries();
    assert!(queries.len() > 30, "{}", queries.len());
    wait::until("three daemons to be scraped", || async {
        (prometheus.query("qres_ready == 1").len() == 3).then_some(())
    })
    .await;
    let mut rounds = 0;
    loop {
        // A rate needs two scrapes, and a quantile needs something that happened between them.
        three.round(None).await;
        rounds += 1;
        let empty: Vec<_> = queries
            .iter()
            .filter(|(_, query)| prometheus.query(query).is_empty())
            .collect();
        if empty.is_empty() {
            break;
        }
        assert!(rounds < 200, "empty after {rounds} rounds: {empty:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_daemons_fire_no_alert() {
    let mut three = Three::start(vec![]).await;
    let Some(prometheus) = Prometheus::start(&three.targets()).await else {
        return;
    };
    wait::until("three daemons to be scraped", || async {
        (prometheus.query("qres_ready == 1").len() == 3).then_some(())
    })
    .await;
    let evaluated = |rule: &Value| !rule["lastEvaluation"].as_str().unwrap_or("0001").starts_with("0001");
    loop {
        three.round(None).await;
        let rules = prometheus.rules();
        if rules.iter().all(evaluated) {
            assert!(!rules.is_empty());
            for rule in &rules {
                assert_eq!(rule["health"], "ok", "{rule}");
                assert_eq!(rule["state"], "inactive", "{rule}");
            }
            break;
        }
    }
}
