//! The parts of a machine that must be brought in line after an input.

/// The parts that an input changed. Each is set wherever something changes, and taken once the part is in line again.
#[derive(Debug)]
pub(in crate::round) struct Dirty {
    /// The head may have to move.
    pub head: bool,
    /// The open round may merge or close.
    pub round: bool,
    /// Other blobs may be wanted.
    pub wants: bool,
    /// The head's branch, or what is confirmed on it, has changed.
    pub chain: bool,
}

impl Dirty {
    /// Marks all parts, as at a start.
    pub fn all() -> Self {
        Self {
            head: true,
            round: true,
            wants: true,
            chain: true,
        }
    }
}
