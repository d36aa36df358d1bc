//! Heartbeats out and in: publishing this node's own, and taking in those of others.

use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::TopicHash;
use qres_wire::clock::unix_ms;
use qres_wire::identity;

use super::Actor;
use crate::gossip::{AuthorClass, Sent, TOPIC_HEARTBEAT};
use crate::heartbeat::{Heartbeat, encode};

impl Actor {
    /// Due work: publishes this node's own heartbeat.
    pub(super) fn tick_heartbeat(&mut self, now: Instant) {
        let nodes = self.authors.alive(now) + 1;
        if self.peers.admitted_count() == 0 || !self.heartbeat_timer.due(nodes, now) {
            return;
        }
        let heads = self.heads.borrow().clone();
        let heads = self.heartbeat_timer.window(&heads);
        let period = self.heartbeat_timer.period(nodes);
        let uptime = now.saturating_duration_since(self.heartbeat_timer.started);
        let boot = self.twins.boot.sign(unix_ms());
        let data = encode(uptime, &self.config.agent, period, &heads, boot);
        if matches!(self.send(&TopicHash::from_raw(TOPIC_HEARTBEAT), data), Sent::Yes) {
            self.counters.heartbeats_sent.add();
            self.heartbeat_timer.sent(now);
        }
    }

    /// Takes in an accepted heartbeat: its author is alive, and its heads go to the layer above.
    pub(super) fn take_heartbeat(&mut self, source: PeerId, author_class: AuthorClass, beat: Heartbeat, now: Instant) {
        self.counters.heartbeats_received.add();
        let period = beat.period.max(self.config.timings.heartbeat_min);
        self.authors.note_alive(&source, author_class, period, now);
        self.watchdog.note_period(&source, period);
        let changed = self.peers.get_mut(&source).is_some_and(|peer| {
            let changed = peer.heads != beat.heads;
            peer.heads.clone_from(&beat.heads);
            changed
        });
        if changed {
            self.outbox.peer_changed(source);
        }
        if let Some(node) = identity::node_id(&source) {
            self.outbox.heads(node, beat.heads);
        }
    }
}
