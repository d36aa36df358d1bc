//! The names of the gossip topics on the wire.

use crate::event::Topic;

/// The exact name of the gossip topic for contributions, seals, proofs and model announcements.
pub const TOPIC_EPIPHANY: &str = "qres/v1/epiphany";

/// The exact name of the gossip topic for state envelopes, like [`TOPIC_EPIPHANY`].
pub const TOPIC_STATE: &str = "qres/v1/state";

/// The exact name of the gossip topic for heartbeats, like [`TOPIC_EPIPHANY`].
pub const TOPIC_HEARTBEAT: &str = "qres/v1/heartbeat";

impl Topic {
    /// Returns the topic's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Epiphany => TOPIC_EPIPHANY,
            Topic::State => TOPIC_STATE,
        }
    }
}
