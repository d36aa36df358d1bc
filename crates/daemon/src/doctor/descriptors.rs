//! The file descriptors of this process.

use qres_node::descriptors::{self, Descriptors};
use qres_node::finding::Finding;

const CHECK: &str = "descriptors";
/// Limit of file descriptors below which a node is warned of: 256 peers, as many callers and the store's files can reach it.
pub const LOW: u64 = 1024;
const REMEDY: &str = "raise the hard limit (`ulimit -Hn`, systemd's LimitNOFILE=, a container's ulimits) to 65536";

/// Judges the descriptors of this process.
pub fn finding() -> Finding {
    judge(descriptors::count(), descriptors::are_scarce())
}

/// `scarce`: the next socket would take a descriptor that is kept for the store.
fn judge(found: Descriptors, scarce: bool) -> Finding {
    let Descriptors { used, limit } = found;
    let text = format!("{used} of {limit} file descriptors are in use");
    if scarce {
        let text = format!("{text}: the rest is kept for the store, and new connections are turned away");
        return Finding::failed(CHECK, text, REMEDY);
    }
    if limit < LOW {
        return Finding::warning(CHECK, format!("{text}; a busy node needs {LOW}"), REMEDY);
    }
    // At half of the limit there is time to act: sockets get three quarters of it at least.
    if used >= limit / 2 {
        return Finding::warning(CHECK, text, REMEDY);
    }
    Finding::ok(CHECK, text)
}

#[cfg(test)]
mod tests {
    use qres_node::finding::Verdict;

    use super::*;

    #[test]
    fn the_limits_hold_at_their_edges() {
        for (used, limit, scarce, verdict) in [
            (30, 1024, false, Verdict::Ok),
            (30, 1023, false, Verdict::Warning),
            (511, 1024, false, Verdict::Ok),
            (512, 1024, false, Verdict::Warning),
            (800, 1024, true, Verdict::Failed),
        ] {
            assert_eq!(
                judge(Descriptors { used, limit }, scarce).verdict,
                verdict,
                "{used} of {limit}"
            );
        }
    }
}
