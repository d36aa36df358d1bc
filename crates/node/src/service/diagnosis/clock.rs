//! This node's clock, compared with those of its peers.
//!
//! Rounds do not need right clocks: each node measures deadlines with a clock of its own that cannot be set. But a wrong clock
//! refuses tokens and certificates that are good, takes those that have ended, and puts the lines of two logs into a wrong order.
//! And a node takes a run of its own key for a former one if it was signed before this node's start: by as much as the clock of
//! the second process is behind, both notice each other later (mesh/src/twin.rs).

use qres_mesh::PeerClock;

use super::words::{connected, first, peer};
use crate::finding::{Finding, Verdict};

const CHECK: &str = "clock";

/// A heartbeat period: with a greater difference, lines of two logs and the notice of a second process are late by more than the
/// swarm itself is. A message under way, which makes the difference look greater, takes less.
const WARNING_MS: u64 = 5_000;

/// A minute: certificates and tokens that were just made are refused, because they are not valid yet.
const FAILED_MS: u64 = 60_000;

const REMEDY: &str =
    "set the clock by NTP: `timedatectl` shows whether it is synchronized, `timedatectl set-ntp true` turns it on";

/// The clock that is off, by the median of this node's clock and those of its peers.
#[derive(Debug, PartialEq, Eq)]
enum Off {
    /// No clock is off by [`WARNING_MS`] or more. Holds the greatest difference.
    Nobody(u64),
    /// This node's clock, by this many milliseconds (positive = ahead).
    Here(i64),
    /// As many clocks say one thing as the other: this node's may be off, or the others', by this many milliseconds.
    Unknown(u64),
    /// The clocks of these peers, although this node's is right.
    Peers(Vec<PeerClock>),
}

/// Finds the clock that is off. The median of all clocks counts as the right time, so that a few wrong clocks, or liars, do not
/// matter.
fn off(clocks: &[PeerClock]) -> Off {
    let mut all: Vec<i64> = clocks.iter().map(|clock| clock.ahead_ms).chain([0]).collect();
    all.sort_unstable();
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    let apart = low.abs_diff(high);
    if apart >= WARNING_MS {
        return Off::Unknown(apart);
    }
    // Of the two middle clocks the nearer one counts: the message of the other was under way for longer.
    let right = if low.unsigned_abs() < high.unsigned_abs() {
        low
    } else {
        high
    };
    if right.unsigned_abs() >= WARNING_MS {
        return Off::Here(right.saturating_neg());
    }
    let is_off = |clock: &&PeerClock| clock.ahead_ms.abs_diff(right) >= WARNING_MS;
    let peers: Vec<_> = clocks.iter().filter(is_off).copied().collect();
    if peers.is_empty() {
        return Off::Nobody(
            clocks
                .iter()
                .map(|clock| clock.ahead_ms.unsigned_abs())
                .max()
                .unwrap_or(0),
        );
    }
    Off::Peers(peers)
}

/// Judges the clocks.
pub fn finding(clocks: &[PeerClock]) -> Finding {
    if clocks.is_empty() {
        return Finding::skipped(
            CHECK,
            "no connected peer has told the time yet",
            "ask again once peers are connected: each tells the time when it connects, and with every heartbeat",
        );
    }
    let count = connected(clocks.len());
    match off(clocks) {
        Off::Nobody(ms) => Finding::ok(
            CHECK,
            format!("the clocks of {count} and of this node differ by at most {ms} ms"),
        ),
        Off::Here(ms) => Finding::of(
            verdict(ms.unsigned_abs()),
            CHECK,
            format!(
                "this node's clock is {}, by the clocks of most of its {count}",
                words(ms)
            ),
            REMEDY,
        ),
        Off::Unknown(ms) => Finding::of(
            verdict(ms),
            CHECK,
            format!(
                "this node's clock and those of its connected peers differ by {}, and no majority says which is wrong",
                seconds(ms)
            ),
            format!("look at this node and at the peer: {REMEDY}"),
        ),
        Off::Peers(peers) => {
            let each = |clock: &PeerClock| format!("{} is {}", peer(&clock.node), words(clock.ahead_ms));
            let peers: Vec<_> = peers.iter().map(each).collect();
            Finding::warning(
                CHECK,
                format!(
                    "this node's clock agrees with most peers, but not with all: {}",
                    first(&peers)
                ),
                "tell the operators of these peers to set their clocks by NTP",
            )
        }
    }
}

fn verdict(off_ms: u64) -> Verdict {
    match off_ms {
        FAILED_MS.. => Verdict::Failed,
        WARNING_MS.. => Verdict::Warning,
        _ => Verdict::Ok,
    }
}

fn words(ahead_ms: i64) -> String {
    let direction = if ahead_ms < 0 { "behind" } else { "ahead" };
    format!("{} {direction}", seconds(ahead_ms.unsigned_abs()))
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use qres_fed::id::NodeId;

    use super::*;

    fn clocks(ahead: &[i64]) -> Vec<PeerClock> {
        let clock = |(n, ahead_ms): (usize, &i64)| PeerClock {
            node: NodeId([n as u8; 32]),
            ahead_ms: *ahead_ms,
        };
        ahead.iter().enumerate().map(clock).collect()
    }

    #[test]
    fn the_majority_says_whose_clock_is_off() {
        assert_eq!(off(&clocks(&[-40])), Off::Nobody(40));
        assert_eq!(
            off(&clocks(&[120_000])),
            Off::Unknown(120_000),
            "one peer against this node"
        );
        assert_eq!(off(&clocks(&[120_000, 119_900])), Off::Here(-119_900));
        assert_eq!(off(&clocks(&[-120_000, -120_300, -120_100])), Off::Here(120_000));
        let Off::Peers(peers) = off(&clocks(&[-20, 90_000])) else {
            panic!("the peer's clock is off");
        };
        assert_eq!(peers, clocks(&[0, 90_000])[1..]);
        assert_eq!(
            off(&clocks(&[0, 90_000, 90_000])),
            Off::Unknown(90_000),
            "two against two"
        );
        assert!(matches!(off(&clocks(&[0, i64::MAX, i64::MIN])), Off::Peers(liars) if liars.len() == 2));
    }

    #[test]
    fn the_limits_hold_at_their_edges() {
        for (ahead, verdict) in [
            (&[4_999, 4_999][..], Verdict::Ok),
            (&[5_000, 5_000], Verdict::Warning),
            (&[-59_999, -59_999], Verdict::Warning),
            (&[60_000, 60_000], Verdict::Failed),
            (&[59_999], Verdict::Warning),
            (&[-60_000], Verdict::Failed),
            // This node can do nothing about a peer's clock.
            (&[0, 600_000], Verdict::Warning),
            (&[], Verdict::Skipped),
        ] {
            let finding = finding(&clocks(ahead));
            assert_eq!(finding.verdict, verdict, "{ahead:?}: {finding:?}");
        }
        let finding = finding(&clocks(&[90_060, 90_010]));
        assert!(finding.text.contains("90.0 s behind"), "{finding:?}");
    }
}
