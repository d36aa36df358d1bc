//! Takes the routing hints into the peer table at the start, and writes them when they have changed.

use std::path::Path;
use std::time::Instant;

use qres_wire::clock::unix_ms;

use super::Actor;
use crate::saved_peers::SavedPeers;

/// While the file holds fewer peers than this, a new one is written at once: a node that ends before the next regular write
/// would know no peer after its restart. With more, there are enough to begin with, and a write for each peer that comes or
/// goes in a large swarm would cost too much.
const PEERS_FEW: usize = 16;

impl Actor {
    /// Takes the [`SavedPeers`] of the file into the peer table.
    pub(crate) fn take_saved_peers(&mut self, hints: SavedPeers, now: Instant) {
        let wall = unix_ms();
        for hint in hints.peers.iter().filter(|h| h.peer != self.own) {
            if let Some(peer) = self.peers.entry(hint.peer, now) {
                peer.addresses.clone_from(&hint.addresses);
                peer.last_good_unix_ms = hint.last_good_unix_ms.min(wall);
            }
        }
        for (id, ban) in hints.bans.into_iter().filter(|(_, b)| b.until_unix_ms > wall) {
            self.swarm.behaviour_mut().blocked.block_peer(id);
            self.peers.entry(id, now);
            self.peers.ban(id, ban);
        }
    }

    /// Due work: writes the hints, on a thread for blocking work, if they changed. It does so when the last check is
    /// `Timings::hints_save` ago, or at once while the file holds few peers and a new one is known.
    pub(super) fn tick_saved_peers(&mut self, now: Instant) {
        let busy = self.hints_writer.as_ref().is_some_and(|w| !w.is_finished());
        if busy {
            return;
        }
        let due = now.saturating_duration_since(self.hints_checked) >= self.config.timings.hints_save;
        if !due && self.hints_saved.peers.len() >= PEERS_FEW {
            return;
        }
        let hints = SavedPeers::of(&self.peers);
        let has_new = hints.peers.iter().any(|hint| !self.hints_saved.has(&hint.peer));
        if !due && !has_new {
            return;
        }
        self.hints_checked = now;
        if hints == self.hints_saved {
            return;
        }
        self.hints_saved = hints.clone();
        let path = self.config.hints.clone();
        self.hints_writer = Some(tokio::task::spawn_blocking(move || save(&hints, &path)));
    }

    /// Writes the hints a last time, after a write under way has ended.
    pub(super) async fn finish_saved_peers(&mut self) {
        if let Some(writer) = self.hints_writer.take() {
            // A panic in the writer is no reason to panic here: the file was replaced whole or not at all.
            drop(writer.await);
        }
        let hints = SavedPeers::of(&self.peers);
        if hints != self.hints_saved {
            let path = self.config.hints.clone();
            drop(tokio::task::spawn_blocking(move || save(&hints, &path)).await);
        }
    }
}

fn save(hints: &SavedPeers, path: &Path) {
    if let Err(error) = hints.save(path) {
        tracing::warn!(path = %path.display(), %error, "routing hints cannot be written");
    }
}
