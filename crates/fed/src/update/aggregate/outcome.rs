//! What a pass over coordinates finds out about the members.

/// The members' part in a result.
pub(super) struct Outcome {
    /// The mean weight of each member's update in the result.
    pub weights: Vec<f64>,
    /// The squared distance of each member's update to the aggregated one.
    pub distances2: Vec<f64>,
}
