//! The outcome of sending a gossip message.

use crate::error::MeshError;

/// The outcome of sending a message.
pub enum Sent {
    /// The message was sent, now or a moment ago.
    Yes,
    /// No peer can take the message now.
    Later,
    /// The message can never be sent, for this reason.
    Never(MeshError),
}
