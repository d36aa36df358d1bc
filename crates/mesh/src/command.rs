//! What the rest of the node asks of the actor.

use std::time::Duration;

use qres_fed::id::NodeId;
use tokio::sync::oneshot;

use super::{Fault, MeshError, MessageToken, Topic, Verdict};
use crate::peer_view::PeerView;

/// Commands that wait for the actor; callers wait when it is full. An envelope each: 16 MiB at most.
pub const COMMANDS_MAX: usize = 256;

/// Faults that wait for the actor; further ones are dropped and counted.
pub const FAULTS_MAX: usize = 256;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, MeshError>>;

/// One request.
pub enum Command {
    /// Publish an envelope.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        data: Vec<u8>,
        /// Taken, or why not.
        reply: Reply<()>,
    },
    /// A verdict on a received message.
    Report {
        /// Which.
        token: MessageToken,
        /// What.
        verdict: Verdict,
    },
    /// Dial an address.
    Dial {
        /// As written.
        address: String,
        /// The node that answers there, or why none does.
        reply: Reply<NodeId>,
    },
    /// Ban a peer.
    Ban {
        /// Who.
        node: NodeId,
        /// Why.
        reason: String,
        /// How long.
        for_: Duration,
        /// Done.
        reply: Reply<()>,
    },
    /// Lift a ban.
    Unban {
        /// Who.
        node: NodeId,
        /// Done.
        reply: Reply<()>,
    },
    /// Everyone known.
    Peers {
        /// They.
        reply: Reply<Vec<PeerView>>,
    },
    /// Say goodbye and close.
    Stop,
}

/// A fault to note.
#[derive(Debug)]
pub struct FaultReport {
    /// Whose.
    pub node: NodeId,
    /// What kind.
    pub fault: Fault,
    /// For people.
    pub why: String,
}
