//! Faults and bans: what lowers a peer's score, and what follows from a low one.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use qres_fed::id::NodeId;
use qres_wire::clock::unix_ms;
use qres_wire::identity;

use super::Actor;
use super::admission::REASON_BYTES_MAX;
use crate::error::MeshError;
use crate::event::Fault;
use crate::gossip;
use crate::hello::{self, GoodbyeCode};
use crate::peer_table::Ban;
use crate::score;

/// Time after which a peer that is still graylisted gets another fault.
const GRAYLIST_AGAIN: Duration = Duration::from_mins(1);

impl Actor {
    /// Counts a [`Fault`] against a peer, which lowers its score, and disconnects or bans it if the score is too low.
    pub(super) fn on_fault(&mut self, node: &NodeId, fault: Fault, why: &str, now: Instant) {
        let Some(id) = identity::peer_id(node).filter(|id| *id != self.own) else {
            return;
        };
        let Some(peer) = self.peers.entry(id, now) else { return };
        let score = peer.score.hit(fault, now);
        tracing::debug!(peer = %id, ?fault, score, why, "fault");
        self.swarm.behaviour_mut().gossip.set_application_score(&id, score);
        self.outbox.peer_changed(id);
        if score <= score::BAN {
            let reason = format!("too many faults (score {score:.1}), the last: {why}");
            self.ban_peer(id, &reason, score::BAN_FOR, now);
        } else if score <= score::DISCONNECT {
            let text = hello::cut(&format!("faults (score {score:.1}), the last: {why}"), REASON_BYTES_MAX);
            self.refuse(id, GoodbyeCode::Fault, text, true, now);
        }
    }

    fn ban_peer(&mut self, id: PeerId, reason: &str, for_: Duration, now: Instant) {
        let reason = hello::cut(reason, REASON_BYTES_MAX);
        tracing::warn!(peer = %id, "peer {id} banned for {} s: {reason}", for_.as_secs());
        self.counters.banned.add();
        let until = u64::try_from(for_.as_millis()).unwrap_or(u64::MAX);
        let ban = Ban {
            reason: reason.clone(),
            until_unix_ms: unix_ms().saturating_add(until),
        };
        self.peers.entry(id, now);
        if let Some(freed) = self.peers.ban(id, ban) {
            self.swarm.behaviour_mut().blocked.unblock_peer(freed);
            self.outbox.peer_changed(freed);
        }
        self.swarm.behaviour_mut().kad.remove_peer(&id);
        self.outbox.peer_changed(id);
        if self.peers.is_connected(&id) {
            // The peer is blocked once it has read the goodbye, or once the time for it is over.
            self.part(id, Some(hello::goodbye(GoodbyeCode::Banned, &reason)), now);
        } else {
            self.swarm.behaviour_mut().blocked.block_peer(id);
        }
    }

    /// Bans a peer for an operator.
    pub(super) fn ban(&mut self, node: &NodeId, reason: &str, for_: Duration, now: Instant) -> Result<(), MeshError> {
        let id = self.other(node)?;
        self.ban_peer(id, reason, for_, now);
        Ok(())
    }

    /// Lifts a ban for an operator, and sets the peer's score back to 0.
    pub(super) fn unban(&mut self, node: &NodeId, now: Instant) -> Result<(), MeshError> {
        let id = self.other(node)?;
        self.peers.unban(&id);
        self.swarm.behaviour_mut().blocked.unblock_peer(id);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.score.clear(now);
            peer.refused = None;
            peer.wanted = true;
        }
        self.outbox.peer_changed(id);
        Ok(())
    }

    fn other(&self, node: &NodeId) -> Result<PeerId, MeshError> {
        let id = identity::peer_id(node).filter(|id| *id != self.own);
        id.ok_or_else(|| MeshError::Address(node.to_string()))
    }

    /// Lets the peers in again whose bans have ended.
    pub(super) fn lift_ended_bans(&mut self) {
        for id in self.peers.expire_bans(unix_ms()) {
            self.swarm.behaviour_mut().blocked.unblock_peer(id);
            self.outbox.peer_changed(id);
        }
    }

    /// Counts a fault a minute against each peer that gossipsub graylists (rejected messages, broken promises) and whose
    /// messages it therefore drops. So the peer list shows it, and four such faults send the peer away.
    pub(super) fn punish_graylisted(&mut self, now: Instant) {
        let gossip = &self.swarm.behaviour().gossip;
        let graylisted: Vec<(PeerId, NodeId, f64)> = self
            .peers
            .admitted()
            .filter(|p| {
                p.graylisted
                    .is_none_or(|at| now.saturating_duration_since(at) >= GRAYLIST_AGAIN)
            })
            .filter_map(|p| Some((p.id, p.node, gossip.peer_score(&p.id)?)))
            .filter(|(_, _, score)| *score < gossip::GRAYLIST)
            .collect();
        for (id, node, score) in graylisted {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.graylisted = Some(now);
            }
            self.on_fault(&node, Fault::Protocol, &format!("gossip score {score:.0}"), now);
        }
    }
}
