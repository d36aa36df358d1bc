//! The bootstrap nodes: reached or not.

use qres_mesh::{SeedState, SeedView};

use super::words::{self, first};
use crate::finding::Finding;

const CHECK: &str = "bootstrap";
const REMEDY: &str = "check address and port in --bootstrap, that the node there runs, and the firewalls between; \
                      `qres peers dial ADDRESS` tries one address";

/// Judges the bootstrap addresses of a node with this many connected peers.
pub fn finding(seeds: &[SeedView], connected: usize) -> Finding {
    if seeds.is_empty() {
        return match connected {
            0 => Finding::warning(
                CHECK,
                "no bootstrap node is configured, and no peer is connected: this node is alone until another one dials it",
                "name a node of the swarm with --bootstrap, if this node is not the first",
            ),
            _ => Finding::skipped(
                CHECK,
                "no bootstrap node is configured; peers are connected without one",
                "",
            ),
        };
    }
    let failed: Vec<_> = seeds.iter().filter_map(failure).collect();
    let reached = |seed: &&SeedView| matches!(seed.state, SeedState::Connected | SeedState::Reached);
    let count = seeds.iter().filter(reached).count();
    let own = seeds.iter().any(|seed| seed.state == SeedState::Own);
    let own = if own { "; one of them is this very node" } else { "" };
    let summary = format!("{count} of {} bootstrap nodes were reached{own}", seeds.len());
    if failed.is_empty() {
        return Finding::ok(CHECK, summary);
    }
    let text = format!(
        "{summary}, {}; not reached: {}",
        words::connected(connected),
        first(&failed)
    );
    match (count, connected) {
        (0, 0) => Finding::failed(CHECK, text, REMEDY),
        _ => Finding::warning(CHECK, text, REMEDY),
    }
}

fn failure(seed: &SeedView) -> Option<String> {
    match &seed.state {
        SeedState::Failed(why) => Some(format!("{} ({why})", seed.text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;

    #[test]
    fn a_node_that_reaches_none_and_knows_nobody_fails() {
        let seed = |state| SeedView {
            text: "a.example:4001".into(),
            state,
        };
        let gone = || seed(SeedState::Failed("connection refused".into()));
        assert_eq!(finding(&[], 0).verdict, Verdict::Warning);
        assert_eq!(finding(&[], 1).verdict, Verdict::Skipped);
        assert_eq!(
            finding(&[seed(SeedState::Connected), seed(SeedState::Own)], 1).verdict,
            Verdict::Ok
        );
        assert_eq!(
            finding(&[gone(), seed(SeedState::Reached)], 0).verdict,
            Verdict::Warning
        );
        assert_eq!(finding(&[gone()], 1).verdict, Verdict::Warning);
        let failed = finding(&[gone()], 0);
        assert_eq!(failed.verdict, Verdict::Failed);
        assert!(
            failed.text.contains("a.example:4001 (connection refused)"),
            "{failed:?}"
        );
    }
}
