//! A gossip message that waits for its carrier's hello.

use libp2p::PeerId;
use libp2p::gossipsub::{Message, MessageId};

/// A gossip message that waits for its carrier's hello.
pub struct Held {
    /// The carrier: the peer whose connection brought the message.
    pub from: PeerId,
    /// The message's id.
    pub id: MessageId,
    /// The message as it came.
    pub message: Message,
}
