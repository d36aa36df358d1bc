//! How much one author may gossip.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// Authors remembered; the one unheard for longest makes room, and starts with a full allowance when it comes back. Those
/// that send heartbeats go last: a flood of new names does not push them out.
const AUTHORS_MAX: usize = 4096;

/// Engine messages of one author: a burst of 512 (facts: 300 within a gossipsub heartbeat must pass), 64 a second after.
const MESSAGES_BURST: f64 = 512.0;
const MESSAGES_A_SECOND: f64 = 64.0;

/// Their bytes: the burst at the largest envelope, then 4 MiB a second (32 Mbit/s).
const BYTES_BURST: f64 = 32.0 * 1024.0 * 1024.0;
const BYTES_A_SECOND: f64 = 4.0 * 1024.0 * 1024.0;

/// Heartbeats of one author. A node sends at most one a second.
const HEARTBEATS_BURST: f64 = 8.0;
const HEARTBEATS_A_SECOND: f64 = 2.0;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    tokens: f64,
    burst: f64,
    a_second: f64,
    at: Instant,
}

impl Allowance {
    /// A full one.
    pub fn new(burst: f64, a_second: f64, now: Instant) -> Self {
        Self {
            tokens: burst,
            burst,
            a_second,
            at: now,
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.a_second).min(self.burst);
        self.at = self.at.max(now);
    }

    /// Takes `cost` if there is that much.
    pub fn take(&mut self, cost: f64, now: Instant) -> bool {
        self.refill(now);
        let enough = self.tokens >= cost;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

struct Author {
    messages: Allowance,
    bytes: Allowance,
    heartbeats: Allowance,
    heard: Instant,
    /// Until when the author counts as alive: three of its heartbeat periods.
    alive_until: Option<Instant>,
}

impl Author {
    fn new(now: Instant) -> Self {
        Self {
            messages: Allowance::new(MESSAGES_BURST, MESSAGES_A_SECOND, now),
            bytes: Allowance::new(BYTES_BURST, BYTES_A_SECOND, now),
            heartbeats: Allowance::new(HEARTBEATS_BURST, HEARTBEATS_A_SECOND, now),
            heard: now,
            alive_until: None,
        }
    }

    fn alive(&self, now: Instant) -> bool {
        self.alive_until.is_some_and(|until| until > now)
    }
}

/// Everyone whose gossip was heard lately.
#[derive(Default)]
pub struct Authors {
    authors: BTreeMap<PeerId, Author>,
}

impl Authors {
    fn author(&mut self, peer: &PeerId, now: Instant) -> &mut Author {
        if !self.authors.contains_key(peer)
            && self.authors.len() >= AUTHORS_MAX
            && let Some(oldest) = self.evictable(now)
        {
            self.authors.remove(&oldest);
        }
        let author = self.authors.entry(*peer).or_insert_with(|| Author::new(now));
        author.heard = author.heard.max(now);
        author
    }

    fn evictable(&self, now: Instant) -> Option<PeerId> {
        let oldest = self.authors.iter().min_by_key(|(_, a)| (a.alive(now), a.heard));
        oldest.map(|(peer, _)| *peer)
    }

    /// Whether the author may have one more engine message of this length.
    pub fn take(&mut self, peer: &PeerId, bytes: usize, now: Instant) -> bool {
        let author = self.author(peer, now);
        #[allow(clippy::cast_precision_loss)] // at most 64 KiB
        let bytes = bytes as f64;
        author.bytes.take(bytes, now) && author.messages.take(1.0, now)
    }

    /// Whether the author may have one more heartbeat.
    pub fn take_heartbeat(&mut self, peer: &PeerId, now: Instant) -> bool {
        self.author(peer, now).heartbeats.take(1.0, now)
    }

    /// The author is alive, and its next heartbeat comes within `period`.
    pub fn note_alive(&mut self, peer: &PeerId, period: Duration, now: Instant) {
        self.author(peer, now).alive_until = Some(now + period * 3);
    }

    /// How many nodes sent a heartbeat lately: the swarm's size without this node.
    pub fn alive(&self, now: Instant) -> usize {
        self.authors.values().filter(|a| a.alive(now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_gets_its_burst_then_its_rate_and_hurts_no_other() {
        let now = Instant::now();
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut authors = Authors::default();
        let burst = (0..600).filter(|_| authors.take(&a, 100, now)).count();
        assert_eq!(burst, 512);
        assert!(authors.take(&b, 100, now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..600).filter(|_| authors.take(&a, 100, later)).count(), 64);
        assert_eq!((0..20).filter(|_| authors.take_heartbeat(&a, later)).count(), 8);
        let big = (0..600)
            .filter(|_| authors.take(&PeerId::random(), 64 * 1024, now))
            .count();
        assert_eq!(big, 600, "everyone has an allowance of bytes");
        let mine = (0..600).filter(|_| authors.take(&b, 64 * 1024, later)).count();
        assert_eq!(mine, 512);
    }

    #[test]
    fn a_flood_of_identities_is_forgotten_again() {
        let now = Instant::now();
        let mut authors = Authors::default();
        let first = PeerId::random();
        authors.note_alive(&first, Duration::from_secs(5), now);
        assert_eq!(
            (authors.alive(now), authors.alive(now + Duration::from_secs(15))),
            (1, 0)
        );
        for n in 0..AUTHORS_MAX as u64 {
            authors.take(&PeerId::random(), 1, now + Duration::from_millis(1 + n));
        }
        assert_eq!(authors.authors.len(), AUTHORS_MAX);
        assert!(authors.authors.contains_key(&first), "its heartbeats keep it");
        authors.take(&PeerId::random(), 1, now + Duration::from_secs(15));
        assert!(!authors.authors.contains_key(&first));
    }
}
