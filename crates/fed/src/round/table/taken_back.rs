//! The rounds that came back from the archive.

use crate::id::Instant;

/// The rounds that were read back from the archive, and the limits on reading more.
#[derive(Debug, Default)]
pub(in crate::round) struct TakenBack {
    /// The first round of the request that waits for an answer, if there is one.
    pub wanted: Option<u64>,
    /// Number of rounds that were taken back and are in memory now.
    pub held: u64,
    pub rests_until: Instant,
}

impl TakenBack {
    /// Returns true if the archive may be read from round `from` on now. The archive rests until
    /// `rests_until`, unless some of its rounds are in memory anyway. A request for the same or an older
    /// round that waits for its answer also forbids the read.
    pub fn may_read(&self, from: u64, now: Instant) -> bool {
        let rests = self.held == 0 && now < self.rests_until;
        !rests && self.wanted.is_none_or(|wanted| from < wanted)
    }
}
