//! What this node has measured of the others: who takes part, how fast they are, how far away.

use crate::id::NodeId;
use crate::round::table::attendance::Attendance;
use crate::round::table::paces::Paces;

/// Delay in milliseconds that is assumed before one is measured: once around the world.
const DELAY_MS_DEFAULT: u64 = 100;

/// What this node has measured of the others. The time that a round waits follows from it.
#[derive(Debug)]
pub(in crate::round) struct Pacing {
    pub attendance: Attendance<NodeId>,
    pub paces: Paces,
    /// The measured one-way delay to the other members, in milliseconds.
    pub delay_ms: u64,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            attendance: Attendance::default(),
            paces: Paces::default(),
            delay_ms: DELAY_MS_DEFAULT,
        }
    }
}
