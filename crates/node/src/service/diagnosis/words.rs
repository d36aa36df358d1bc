//! Words that several findings share.

use qres_fed::id::NodeId;
use qres_wire::identity;

/// Returns a node as `qres peers` shows it.
pub fn peer(node: &NodeId) -> String {
    identity::peer_id(node).map_or_else(|| node.to_string(), |peer| peer.to_string())
}

/// Returns the first texts of a list, and how many more there are: a node may know 1,024 peers.
pub fn first(texts: &[String]) -> String {
    const SHOWN_MAX: usize = 5;
    let shown = texts.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>();
    match texts.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

/// Returns the number of connected peers in words.
pub fn connected(count: usize) -> String {
    match count {
        1 => "1 connected peer".to_owned(),
        _ => format!("{count} connected peers"),
    }
}
