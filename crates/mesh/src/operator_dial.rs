//! Dials that an operator asked for (`qres peers dial`, `qres doctor`), and their answers.

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use qres_fed::id::NodeId;
use qres_wire::identity;

use super::attempt::Attempt;
use super::command::Reply;
use super::error::MeshError;

/// An operator's dial that is under way.
pub struct OperatorDial {
    /// The address as the operator wrote it.
    pub(super) text: String,
    /// The dials of the address.
    pub(super) attempt: Attempt,
    /// The channel for the answer: the node at the address, or the reason why none was reached.
    pub(super) reply: Reply<NodeId>,
}

impl OperatorDial {
    /// Returns true if the dial `id` is one of this attempt's.
    pub fn owns(&self, id: ConnectionId) -> bool {
        self.attempt.owns(id)
    }

    /// Notes that the dial `id` reached a peer, and answers the operator. Returns the other dials, whose connections are not
    /// needed.
    pub fn reached(self, id: ConnectionId, peer: PeerId) -> Vec<ConnectionId> {
        let node = identity::node_id(&peer).ok_or_else(|| MeshError::Dial("no node answers there".into()));
        answer(self.reply, node);
        self.attempt.won(id)
    }
}

/// Sends the answer. Sending fails only when the caller no longer waits.
pub(super) fn answer(reply: Reply<NodeId>, outcome: Result<NodeId, MeshError>) {
    drop(reply.send(outcome));
}
