//! Limits on the gossip of one author.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::budget::{Budget, Load, Rates, rate};
use super::carrier::AuthorClass;

/// Largest number of authors remembered. Beyond it the author with the lowest [`AuthorClass`] goes: strangers first, among
/// equals those without a live heartbeat, then the one unheard for longest. So a flood of new names does not push known
/// authors out. An author that comes back starts with a full budget.
const AUTHORS_MAX: usize = 4096;

/// Budget of one author, over all connections that carry its gossip. Messages: 300 within one gossipsub heartbeat must pass.
/// Bytes: the burst has room for 512 of the largest envelopes, then 4 MiB/s follow. Heartbeats: a node sends at most one a
/// second.
const AUTHOR: Rates = Rates {
    messages: rate(512.0, 64.0),
    bytes: rate(32.0 * 1024.0 * 1024.0, 4.0 * 1024.0 * 1024.0),
    heartbeats: rate(8.0, 2.0),
};

struct Author {
    budget: Budget,
    author_class: AuthorClass,
    heard: Instant,
    /// End of the time in which the author counts as alive: three of its heartbeat periods after its last heartbeat.
    alive_until: Option<Instant>,
}

impl Author {
    fn new(now: Instant) -> Self {
        Self {
            budget: Budget::new(&AUTHOR, now),
            author_class: AuthorClass::Stranger,
            heard: now,
            alive_until: None,
        }
    }

    fn alive(&self, now: Instant) -> bool {
        self.alive_until.is_some_and(|until| until > now)
    }
}

/// The authors whose gossip was heard lately, each with its [`Budget`].
#[derive(Default)]
pub struct Authors {
    authors: BTreeMap<PeerId, Author>,
}

impl Authors {
    fn author(&mut self, peer: &PeerId, author_class: AuthorClass, now: Instant) -> &mut Author {
        if !self.authors.contains_key(peer)
            && self.authors.len() >= AUTHORS_MAX
            && let Some(oldest) = self.evictable(now)
        {
            self.authors.remove(&oldest);
        }
        let author = self.authors.entry(*peer).or_insert_with(|| Author::new(now));
        author.heard = author.heard.max(now);
        author.author_class = author_class;
        author
    }

    fn evictable(&self, now: Instant) -> Option<PeerId> {
        let order = |author: &Author| (author.author_class, author.alive(now), author.heard);
        let oldest = self.authors.iter().min_by_key(|(_, author)| order(author));
        oldest.map(|(peer, _)| *peer)
    }

    /// Takes one message or heartbeat out of the author's [`Budget`]. Returns false if the budget is used up.
    pub fn take(&mut self, peer: &PeerId, author_class: AuthorClass, load: Load, now: Instant) -> bool {
        self.author(peer, author_class, now).budget.take(load, now)
    }

    /// Notes that the author is alive and that its next heartbeat should come within `period`.
    pub fn note_alive(&mut self, peer: &PeerId, author_class: AuthorClass, period: Duration, now: Instant) {
        self.author(peer, author_class, now).alive_until = Some(now + period * 3);
    }

    /// Returns the number of other nodes that sent a heartbeat lately. Strangers do not count: an attacker that makes up
    /// names could make the swarm look arbitrarily large, and so make every node's heartbeats rare.
    pub fn alive(&self, now: Instant) -> usize {
        let counts = |author: &&Author| author.author_class != AuthorClass::Stranger && author.alive(now);
        self.authors.values().filter(counts).count()
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    const KNOWN: AuthorClass = AuthorClass::Known;

    #[test]
    fn an_author_gets_its_burst_then_its_rate_and_hurts_no_other() {
        let now = clock::now();
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut authors = Authors::default();
        let mut taken = |who: &PeerId, load, count: usize, at| {
            let within = |_: &usize| authors.take(who, KNOWN, load, at);
            (0..count).filter(within).count()
        };
        let small = Load::Message(100);
        assert_eq!(taken(&a, small, 600, now), 512);
        assert_eq!(taken(&b, small, 1, now), 1);
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(&a, small, 600, later), 64);
        assert_eq!(taken(&a, Load::Heartbeat, 20, later), 8);
        let large = Load::Message(64 * 1024);
        let of_others: usize = (0..600).map(|_| taken(&PeerId::random(), large, 1, now)).sum();
        assert_eq!(of_others, 600, "everyone has an allowance of bytes");
        assert_eq!(taken(&b, large, 600, later), 512);
    }

    #[test]
    fn strangers_are_not_counted_and_make_room_first() {
        let now = clock::now();
        let mut authors = Authors::default();
        let (first, second) = (PeerId::random(), PeerId::random());
        let minute = Duration::from_secs(60);
        authors.note_alive(&first, KNOWN, Duration::from_secs(5), now);
        authors.note_alive(&second, AuthorClass::Vouched, Duration::from_secs(5), now);
        for n in 0..AUTHORS_MAX as u64 {
            let at = now + Duration::from_millis(1 + n);
            authors.note_alive(&PeerId::random(), AuthorClass::Stranger, minute, at);
        }
        assert_eq!(authors.authors.len(), AUTHORS_MAX);
        assert_eq!(authors.alive(now + Duration::from_secs(14)), 2, "those that were met");
        assert_eq!(authors.alive(now + Duration::from_secs(15)), 0);
        assert!(authors.authors.contains_key(&first) && authors.authors.contains_key(&second));
    }
}
