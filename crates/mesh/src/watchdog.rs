//! Finds links on which gossip has died although the connection lives.
//!
//! After one decode error gossipsub closes its inbound stream and reports nothing: the sender blocks on its window for ever
//! (also over QUIC: there, after five such errors, gossipsub opens no new stream; docs/adr/0003-mesh.md). Every neighbour
//! publishes its heartbeats straight to this node and states their period, so a silence longer than several of its periods
//! means a broken link. Each side watches the direction that it hears; the other side watches the other direction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// Neighbours remembered: as many as there can be connections, and some that have just left.
const WATCHED_MAX: usize = 1024;

/// Largest factor on the patience with a link that is silent again right after a reconnection.
const PATIENCE_MAX: u32 = 16;

#[derive(Debug, Clone, Copy)]
struct Watched {
    /// The heartbeat period that the peer itself stated.
    period: Option<Duration>,
    /// Factor on the patience; it doubles with every reconnection that did not help.
    patience: u32,
}

/// The heartbeat period of each neighbour, and the patience with it.
pub struct Watchdog {
    periods: u32,
    period_min: Duration,
    /// The start of the time in which this node has looked without a long break. In a break (a stopped process, a sleeping
    /// machine) it could not hear its peers.
    awake_since: Instant,
    looked: Instant,
    watched: BTreeMap<PeerId, Watched>,
}

impl Watchdog {
    /// Makes a watchdog that waits for `periods` of a neighbour's heartbeats.
    pub fn new(periods: u32, period_min: Duration, now: Instant) -> Self {
        Self {
            periods,
            period_min,
            awake_since: now,
            looked: now,
            watched: BTreeMap::new(),
        }
    }

    /// Notes that this node looks now. If more than a whole period has passed since the last look, that was a break.
    pub fn look(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) > self.period_min {
            self.awake_since = now;
        }
        self.looked = now;
    }

    fn entry(&mut self, peer: &PeerId) -> Option<&mut Watched> {
        if !self.watched.contains_key(peer) && self.watched.len() >= WATCHED_MAX {
            return None;
        }
        Some(self.watched.entry(*peer).or_insert(Watched {
            period: None,
            patience: 1,
        }))
    }

    /// Notes the period that a neighbour's heartbeat states.
    pub fn note_period(&mut self, peer: &PeerId, period: Duration) {
        if let Some(watched) = self.watched.get_mut(peer) {
            watched.period = Some(period);
        }
    }

    /// Returns the time for which the neighbour may be silent. Until its first heartbeat arrives, this node's own period
    /// takes the place of the neighbour's.
    pub fn patience(&mut self, peer: &PeerId, own_period: Duration) -> Duration {
        let (periods, period_min) = (self.periods, self.period_min);
        let fallback = own_period.max(period_min);
        match self.entry(peer) {
            Some(watched) => watched.period.unwrap_or(fallback).max(period_min) * periods * watched.patience,
            None => fallback * periods * PATIENCE_MAX,
        }
    }

    /// Returns true if a link is broken: for longer than its patience nothing was heard, or no subscription was known.
    pub fn is_broken(
        &mut self,
        peer: &PeerId,
        since: Instant,
        heard: Option<Instant>,
        subscribed: bool,
        own_period: Duration,
        now: Instant,
    ) -> bool {
        let patience = self.patience(peer, own_period);
        let since = since.max(self.awake_since);
        let silent = now.saturating_duration_since(heard.map_or(since, |h| h.max(since)));
        let unsubscribed = !subscribed && now.saturating_duration_since(since) > patience;
        silent > patience || unsubscribed
    }

    /// Notes that the link was reconnected, and doubles the patience with it, up to [`PATIENCE_MAX`] times the first one.
    pub fn note_reconnect(&mut self, peer: &PeerId) {
        if let Some(watched) = self.entry(peer) {
            watched.patience = (watched.patience * 2).min(PATIENCE_MAX);
        }
    }

    /// Notes that the link has been fine for a whole patience, so its next silence meets the first patience again.
    pub fn note_fine(&mut self, peer: &PeerId) {
        if let Some(watched) = self.watched.get_mut(peer) {
            watched.patience = 1;
        }
    }

    /// Forgets the neighbours that are not in the peer table.
    pub fn retain(&mut self, known: impl Fn(&PeerId) -> bool) {
        self.watched.retain(|peer, _| known(peer));
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    #[test]
    fn silence_is_measured_in_the_neighbours_own_periods() {
        let now = clock::now();
        let s = Duration::from_secs;
        let peer = PeerId::random();
        let mut dog = Watchdog::new(4, s(5), now);
        let broken = |dog: &mut Watchdog, heard, at| dog.is_broken(&peer, now, heard, true, s(5), now + at);
        assert!(!broken(&mut dog, None, s(20)) && broken(&mut dog, None, s(21)));
        assert!(!broken(&mut dog, Some(now + s(10)), s(30)));
        dog.note_period(&peer, s(50));
        assert!(!broken(&mut dog, None, s(200)) && broken(&mut dog, None, s(201)));
        assert!(
            dog.is_broken(&peer, now, Some(now + s(201)), false, s(5), now + s(201)),
            "heard, but its subscription was lost"
        );
    }

    #[test]
    fn a_break_of_this_node_is_nobodys_silence() {
        let now = clock::now();
        let s = Duration::from_secs;
        let peer = PeerId::random();
        let mut dog = Watchdog::new(4, s(5), now);
        for at in [1, 2, 3, 60, 61, 64] {
            dog.look(now + s(at));
            assert!(
                !dog.is_broken(&peer, now, Some(now + s(3)), true, s(5), now + s(at)),
                "{at}"
            );
        }
        for at in (65..=80).step_by(5) {
            dog.look(now + s(at));
            assert!(
                !dog.is_broken(&peer, now, Some(now + s(3)), true, s(5), now + s(at)),
                "{at}"
            );
        }
        assert!(dog.is_broken(&peer, now, Some(now + s(3)), true, s(5), now + s(81)));
    }

    #[test]
    fn a_link_that_stays_silent_is_not_reconnected_ever_faster() {
        let s = Duration::from_secs;
        let peer = PeerId::random();
        let mut dog = Watchdog::new(4, s(5), clock::now());
        let mut patience = Vec::new();
        for _ in 0..6 {
            patience.push(dog.patience(&peer, s(5)).as_secs());
            dog.note_reconnect(&peer);
        }
        assert_eq!(patience, [20, 40, 80, 160, 320, 320]);
        dog.note_fine(&peer);
        assert_eq!(dog.patience(&peer, s(5)), s(20));
    }
}
