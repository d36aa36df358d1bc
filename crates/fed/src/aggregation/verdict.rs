//! Verdicts: what an aggregation made of each contribution.

use borsh::{BorshDeserialize, BorshSerialize};

/// Reason why a contribution has no part in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Rejection {
    /// The member has no samples, and so no weight.
    NoSamples,
    /// The rule chose other updates, which lie closer together.
    NotSelected,
    /// Every value was among the largest or smallest of its coordinate.
    Trimmed,
    /// The update points away from the root's.
    AgainstRoot,
    /// The update is so long that its length is beyond f64.
    TooLong,
}

/// What an aggregation made of one contribution. It is a function of the spec and of the round's contributions, so every
/// node comes to the same verdicts.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Verdict {
    /// The share of the round's samples that the contribution claims, 0 to 1, after the discount for late work.
    pub claimed: f32,
    /// The weight with which the update is in the result, 0 to 1. For a rule that goes by coordinates: the mean over the
    /// coordinates.
    pub weight: f32,
    /// The factor by which the update was shortened; 1 if it was not.
    pub clipped: f32,
    /// The distance of the member's update to the aggregated update, in units of the weights. `None` if the rule does not
    /// compare updates (plain mean).
    pub distance: Option<f32>,
    /// The reason if the update has no part in the result.
    pub rejected: Option<Rejection>,
}
