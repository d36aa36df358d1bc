//! Looks at every link, and reconnects those on which gossip has died.

use std::collections::BTreeSet;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::TopicHash;

use super::Actor;
use crate::gossip::TOPIC_HEARTBEAT;
use crate::peer_table::Link;

impl Actor {
    /// Due work: looks at every link, and reconnects the broken ones.
    pub(super) fn tick_watchdog(&mut self, now: Instant) {
        self.watchdog.look(now);
        let own_period = self.heartbeat_timer.period(self.authors.alive(now) + 1);
        let topic = TopicHash::from_raw(TOPIC_HEARTBEAT);
        let gossip = &self.swarm.behaviour().gossip;
        let subscribed: BTreeSet<PeerId> = gossip
            .all_peers()
            .filter(|(_, topics)| topics.contains(&&topic))
            .map(|(peer, _)| *peer)
            .collect();
        let links: Vec<(PeerId, Instant)> = self
            .peers
            .admitted()
            .filter_map(|p| match p.link {
                Link::Admitted { since } => Some((p.id, since)),
                _ => None,
            })
            .collect();
        for (peer, since) in links {
            let heard = self.swarm.behaviour().gossip.heard(&peer);
            let fine_for = heard.map(|h| h.saturating_duration_since(since));
            if self
                .watchdog
                .is_broken(&peer, since, heard, subscribed.contains(&peer), own_period, now)
            {
                self.reconnect(peer, heard.map_or(since, |h| h.max(since)), now);
            } else if fine_for.is_some_and(|f| f > self.watchdog.patience(&peer, own_period)) {
                self.watchdog.note_fine(&peer);
            }
        }
        let table = &self.peers;
        self.watchdog.retain(|peer| table.get(peer).is_some());
    }

    fn reconnect(&mut self, peer: PeerId, heard: Instant, now: Instant) {
        let silent = now.saturating_duration_since(heard);
        tracing::info!(
            %peer,
            silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
            "gossip from a connected peer is silent: reconnecting"
        );
        self.counters.watchdog_reconnects.add();
        self.watchdog.note_reconnect(&peer);
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.wanted = true;
        }
        // The call fails only when the peer is not connected, and then there is nothing to do.
        let _ = self.swarm.disconnect_peer_id(peer);
    }
}
