//! What waits to be told to the engine: per peer at most one of each kind, so it is bounded by the book.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::PeerId;
use qres_fed::id::NodeId;

use super::{HeadClaim, MeshEvent};

/// Authors whose heads wait at most; further ones are told with their next heartbeat.
const HEADS_MAX: usize = 4096;

#[derive(Debug, Default, Clone, Copy)]
struct Presence {
    /// What the engine believes.
    told: bool,
    /// How it is.
    now: bool,
    /// It was gone in between: the engine must hear of that, since it syncs on connecting.
    gap: bool,
}

/// One thing to tell.
#[derive(Debug)]
pub enum Notice {
    /// Ready to send.
    Event(MeshEvent),
    /// This peer's entry has changed: send its view as it is then.
    Peer(PeerId),
}

/// The queue.
#[derive(Default)]
pub struct Outbox {
    presence: BTreeMap<NodeId, Presence>,
    moved: BTreeSet<NodeId>,
    heads: BTreeMap<NodeId, Vec<HeadClaim>>,
    peers: BTreeSet<PeerId>,
}

impl Outbox {
    /// A peer is connected, or no longer.
    pub fn presence(&mut self, node: NodeId, connected: bool) {
        let presence = self.presence.entry(node).or_default();
        if presence.now == connected {
            return;
        }
        presence.now = connected;
        presence.gap |= presence.told && !connected;
        self.moved.insert(node);
    }

    /// A heartbeat's heads; a newer one replaces an untold older one.
    pub fn heads(&mut self, node: NodeId, heads: Vec<HeadClaim>) {
        if self.heads.len() < HEADS_MAX || self.heads.contains_key(&node) {
            self.heads.insert(node, heads);
        }
    }

    /// Something that a peer list shows has changed.
    pub fn peer_changed(&mut self, id: PeerId) {
        self.peers.insert(id);
    }

    /// Whether something waits.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.heads.is_empty() && self.peers.is_empty()
    }

    /// The next thing to tell: comings and goings first, then heads, then the peer list.
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
