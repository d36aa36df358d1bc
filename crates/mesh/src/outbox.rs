//! The queue of news for the layer above. It holds at most one entry of each kind per node, so the peer table and
//! [`HEADS_MAX`] bound its length.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::PeerId;
use qres_fed::id::NodeId;

use super::event::{HeadClaim, MeshEvent};

/// Authors whose heads may wait. The heads of further authors are told with their next heartbeat.
const HEADS_MAX: usize = 4096;

#[derive(Debug, Default, Clone, Copy)]
struct Presence {
    /// The state that the layer above was last told: true means connected.
    told: bool,
    /// The state now: true means connected.
    now: bool,
    /// True if the peer was gone in between. The layer above must hear of that, since it syncs with a peer that
    /// connects.
    gap: bool,
}

/// One piece of news for the layer above.
#[derive(Debug)]
pub enum Notice {
    /// A [`MeshEvent`] that is ready to be sent.
    Event(MeshEvent),
    /// A peer whose entry has changed. Its view is taken at the time of sending.
    Peer(PeerId),
}

/// The queue of [`Notice`]s for the layer above.
#[derive(Default)]
pub struct Outbox {
    presence: BTreeMap<NodeId, Presence>,
    moved: BTreeSet<NodeId>,
    heads: BTreeMap<NodeId, Vec<HeadClaim>>,
    peers: BTreeSet<PeerId>,
}

impl Outbox {
    /// Notes that a peer is connected, or no longer is.
    pub fn presence(&mut self, node: NodeId, connected: bool) {
        let presence = self.presence.entry(node).or_default();
        if presence.now == connected {
            return;
        }
        presence.now = connected;
        presence.gap |= presence.told && !connected;
        self.moved.insert(node);
    }

    /// Notes the heads of a heartbeat; newer ones replace older ones that the layer above was not yet told.
    pub fn heads(&mut self, node: NodeId, heads: Vec<HeadClaim>) {
        if self.heads.len() < HEADS_MAX || self.heads.contains_key(&node) {
            self.heads.insert(node, heads);
        }
    }

    /// Notes that a peer's entry changed in a way that a peer list shows.
    pub fn peer_changed(&mut self, id: PeerId) {
        self.peers.insert(id);
    }

    /// Returns true if no news waits.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.heads.is_empty() && self.peers.is_empty()
    }

    /// Takes the next [`Notice`]: connects and disconnects first, then heads, then peer views.
    pub fn pop(&mut self) -> Option<Notice> {
        while let Some(node) = self.moved.first().copied() {
            if let Some(event) = self.pop_presence(node) {
                return Some(Notice::Event(event));
            }
        }
        if let Some((node, heads)) = self.heads.pop_first() {
            return Some(Notice::Event(MeshEvent::Heads(node, heads)));
        }
        self.peers.pop_first().map(Notice::Peer)
    }

    fn pop_presence(&mut self, node: NodeId) -> Option<MeshEvent> {
        let presence = self.presence.entry(node).or_default();
        if presence.told && (presence.gap || !presence.now) {
            presence.told = false;
            presence.gap = false;
            if !presence.now {
                self.presence.remove(&node);
                self.moved.remove(&node);
            }
            return Some(MeshEvent::Disconnected(node));
        }
        self.moved.remove(&node);
        if presence.now && !presence.told {
            presence.told = true;
            return Some(MeshEvent::Connected(node));
        }
        if !presence.now {
            self.presence.remove(&node);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.pop())
            .map(|notice| match notice {
                Notice::Event(MeshEvent::Connected(_)) => "connected".to_owned(),
                Notice::Event(MeshEvent::Disconnected(_)) => "disconnected".to_owned(),
                Notice::Event(MeshEvent::Heads(_, heads)) => format!("heads {}", heads.len()),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn comings_and_goings_alternate_and_none_is_lost() {
        let node = NodeId([1; 32]);
        let mut outbox = Outbox::default();
        outbox.presence(node, true);
        outbox.presence(node, false);
        assert!(drain(&mut outbox).is_empty(), "came and went before anyone looked");
        outbox.presence(node, true);
        assert_eq!(drain(&mut outbox), ["connected"]);
        outbox.presence(node, false);
        outbox.presence(node, true);
        assert_eq!(drain(&mut outbox), ["disconnected", "connected"]);
        outbox.presence(node, false);
        outbox.presence(node, true);
        outbox.presence(node, false);
        assert_eq!(drain(&mut outbox), ["disconnected"]);
        assert!(outbox.presence.is_empty() && outbox.is_empty());
    }

    #[test]
    fn heads_and_views_are_coalesced() {
        let node = NodeId([1; 32]);
        let claim = HeadClaim {
            spec: qres_fed::id::SpecId([0; 32]),
            checkpoint: qres_fed::id::CheckpointId([0; 32]),
            round: 0,
        };
        let mut outbox = Outbox::default();
        outbox.heads(node, vec![]);
        outbox.heads(node, vec![claim]);
        outbox.presence(node, true);
        assert_eq!(drain(&mut outbox), ["connected", "heads 1"]);
        let id = PeerId::random();
        outbox.peer_changed(id);
        outbox.peer_changed(id);
        assert_eq!(drain(&mut outbox).len(), 1);
    }
}
