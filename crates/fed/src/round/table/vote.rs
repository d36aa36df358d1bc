//! A vote of this node.

/// A vote for a checkpoint, given as two rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::round) struct Vote {
    /// Round of the checkpoint that the vote is for.
    pub target: u64,
    /// Round of the newest checkpoint below it that was known as confirmed.
    pub source: u64,
}
