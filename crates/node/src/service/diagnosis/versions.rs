//! The versions of peers: those that talk with this node, and those that cannot.

use std::collections::BTreeMap;

use super::words::{connected, first};
use crate::finding::Finding;
use crate::view::{PeerState, PeerView};

const CHECK: &str = "versions";
const REMEDY: &str = "another version: upgrade the older side; another network: --network must be the same on all nodes; \
                      `qres peers` shows each peer";

/// Judges the refusals between this node and its peers. `own` is this node's software.
pub fn finding(peers: &[PeerView], own: &str) -> Finding {
    let refused: Vec<String> = peers.iter().filter_map(refusal).collect();
    let mut software: BTreeMap<&str, usize> = BTreeMap::new();
    for peer in peers.iter().filter(|peer| peer.state == PeerState::Connected) {
        *software.entry(peer.agent.as_str()).or_default() += 1;
    }
    let count: usize = software.values().sum();
    let kinds: Vec<_> = software
        .iter()
        .map(|(agent, count)| format!("{count} with {agent}"))
        .collect();
    let kinds = first(&kinds);
    let peers_text = connected(count);
    match (refused.is_empty(), count) {
        (true, 0) => Finding::skipped(CHECK, "no peer is connected, and none was refused", ""),
        (true, _) => Finding::ok(CHECK, format!("this node runs {own}; {peers_text}: {kinds}")),
        (false, 0) => Finding::failed(
            CHECK,
            format!("no peer is connected, and peers were refused: {}", first(&refused)),
            REMEDY,
        ),
        (false, _) => Finding::warning(
            CHECK,
            format!("{peers_text} ({kinds}), but others were refused: {}", first(&refused)),
            REMEDY,
        ),
    }
}

fn refusal(peer: &PeerView) -> Option<String> {
    match &peer.state {
        PeerState::Refused(why) => Some(format!("{}: {why}", peer.peer_id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::NodeId;

    use super::*;
    use crate::finding::Verdict;

    fn peer(n: u8, state: PeerState) -> PeerView {
        PeerView {
            node: NodeId([n; 32]),
            peer_id: format!("peer{n}"),
            addresses: vec![],
            agent: "qres-daemon/0.2.0".into(),
            state,
            rtt_ms: None,
            score: 0.0,
            connected_unix_ms: None,
            heads: vec![],
            bootstrap: false,
        }
    }

    #[test]
    fn refusals_are_named_and_fail_only_if_nobody_is_left() {
        let refused = || peer(1, PeerState::Refused("version mismatch: it speaks 11".into()));
        let of = |peers: &[PeerView]| finding(peers, "qres-daemon/0.1.0");
        assert_eq!(of(&[]).verdict, Verdict::Skipped);
        let well = of(&[peer(2, PeerState::Connected), peer(3, PeerState::Disconnected)]);
        assert_eq!(well.verdict, Verdict::Ok);
        assert!(well.text.contains("1 with qres-daemon/0.2.0"), "{well:?}");
        let some = of(&[refused(), peer(2, PeerState::Connected)]);
        assert_eq!(some.verdict, Verdict::Warning);
        assert!(some.text.contains("peer1: version mismatch"), "{some:?}");
        assert_eq!(of(&[refused()]).verdict, Verdict::Failed);
        let many: Vec<_> = (0..7).map(|_| refused()).collect();
        assert!(of(&many).text.ends_with("and 2 more"));
    }
}
