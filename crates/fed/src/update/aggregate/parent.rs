//! The checkpoint on which a round builds.

use crate::id::CheckpointId;
use crate::tensor::Source;

/// The checkpoint on which a round builds.
#[derive(Clone, Copy)]
pub struct Parent<'a> {
    /// Its id, which draws what a rule must draw.
    pub id: CheckpointId,
    /// Its canonical weights.
    pub weights: &'a dyn Source,
    /// The state of its server optimiser. `None` in checkpoint 0, and if the strategy has none.
    pub optimiser: Option<&'a dyn Source>,
}
