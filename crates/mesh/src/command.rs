//! Commands that the rest of the node sends to the actor.

use std::time::Duration;

use qres_fed::id::NodeId;
use tokio::sync::oneshot;

use super::error::MeshError;
use super::event::{Fault, MessageToken, Topic, Verdict};
use super::inspection::{Inspection, ReachReport};
use super::peer_view::PeerView;

/// Commands that may wait for the actor; when the queue is full, callers wait. Each may hold an envelope, so 16 MiB at most.
pub const COMMANDS_MAX: usize = 256;

/// [`FaultReport`]s that may wait for the actor; further ones are dropped and counted.
pub const FAULTS_MAX: usize = 256;

/// The channel that carries the answer to a [`Command`] back to its caller.
pub type Reply<T> = oneshot::Sender<Result<T, MeshError>>;

/// A command to the actor, with the channel for its answer where it has one.
pub enum Command {
    /// Publishes an envelope.
    Publish {
        /// The [`Topic`] to publish on.
        topic: Topic,
        /// The encoded envelope.
        data: Vec<u8>,
        /// The answer: sent or kept, or the reason why it cannot be sent.
        reply: Reply<()>,
    },
    /// Gives the [`Verdict`] of the layer above on a received message.
    Report {
        /// The message that the verdict is about, by its [`MessageToken`].
        token: MessageToken,
        /// The decision of the layer above on the message.
        verdict: Verdict,
    },
    /// Dials an address for an operator.
    Dial {
        /// The address as the operator wrote it.
        address: String,
        /// The answer: the node at that address, or the reason why none was reached.
        reply: Reply<NodeId>,
    },
    /// Bans a peer.
    Ban {
        /// The node to ban.
        node: NodeId,
        /// The reason, which the peer and operators read.
        reason: String,
        /// The duration of the ban.
        for_: Duration,
        /// The answer, sent once the ban is in force.
        reply: Reply<()>,
    },
    /// Lifts the ban on a peer.
    Unban {
        /// The node to let in again.
        node: NodeId,
        /// The answer, sent once the ban is lifted.
        reply: Reply<()>,
    },
    /// Lists every peer that this node knows.
    Peers {
        /// The answer: one [`PeerView`] per peer.
        reply: Reply<Vec<PeerView>>,
    },
    /// Shows the mesh's own state, for a diagnosis.
    Inspect {
        /// The answer: the [`Inspection`].
        reply: Reply<Inspection>,
    },
    /// Asks connected peers to dial this node back.
    Reach {
        /// The largest number of peers to ask.
        peers_max: usize,
        /// The answer: one [`ReachReport`] per asked peer; empty if no peer is connected.
        reply: Reply<Vec<ReachReport>>,
    },
    /// Says goodbye to all peers and closes the connections.
    Stop,
}

/// A fault of a peer, to be counted against its score.
#[derive(Debug)]
pub struct FaultReport {
    /// The node at fault.
    pub node: NodeId,
    /// The kind of [`Fault`].
    pub fault: Fault,
    /// The reason, for people to read.
    pub why: String,
}
