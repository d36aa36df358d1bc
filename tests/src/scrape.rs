//! Reads the metrics page that a daemon serves for Prometheus.

use crate::http;

/// Returns the metrics page of a daemon. Panics if the page is incomplete.
pub fn scrape(url: &str) -> String {
    let answer = http::get(url).expect("the daemon answers");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.ends_with("# EOF\n"), "the page is cut off: {}", answer.body);
    answer.body
}
