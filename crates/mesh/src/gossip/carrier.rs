//! Limits on the gossip that one connection may carry, over all authors: new identities are free, connections are not.
//!
//! The standing of an author is one of three:
//!
//! - **vouched for**: its key is on the member list of a model that this node has joined;
//! - **known**: it has said hello and is connected, or was for a minute at least;
//! - **a stranger**: any other.
//!
//! | budget | messages at once, then a second | bytes at once, then a second | heartbeats at once, then a second |
//! | --- | --- | --- | --- |
//! | all that one connection carries | 2,048, 256 | 128 MiB, 16 MiB | 512, 100 |
//! | of it by strangers | 256, 32 | 8 MiB, 1 MiB | 64, 20 |
//! | by strangers, over all connections | 1,024, 128 | 32 MiB, 4 MiB | 128, 40 |
//! | by strangers and the known, over all connections | 4,096, 512 | 128 MiB, 16 MiB | 512, 100 |
//!
//! The budgets of one connection are several times those of an author (512 and 64 messages), since an honest neighbour brings
//! the first copies of many authors' messages: with a degree of D = 8 an eighth of the swarm's on average, and all of them
//! when it is the only neighbour. All strangers behind one connection together get half of what one author gets, so a flood
//! is worth less than one key, no matter how many keys it uses. An author that is vouched for shares none of the budgets over
//! all connections, so strangers cannot crowd members out.
//!
//! A message beyond a budget is ignored: it is not forwarded, so a flood dies at the first honest node, and no peer is blamed
//! for it. An honest node forwards nothing beyond its own budgets. So what it brings to its neighbours is bounded, even under
//! attack: at most the last line of the table, and its members' messages. A connection that brings four times that line
//! ([`ABUSE`]) belongs to no honest node, and that is a fault of the carrier.

use std::collections::BTreeMap;
use std::time::Instant;

use libp2p::PeerId;

use super::budget::{Allowance, Budget, Load, Rate, Rates, rate};

const MIB: f64 = 1024.0 * 1024.0;

/// Budget of everything that one connection carries: four times an author's messages and bytes. Heartbeats: 512 members at
/// once, then 100 a second, the most that a node hears while heads move (heartbeat.rs).
const CARRIER: Rates = Rates {
    messages: rate(2_048.0, 256.0),
    bytes: rate(128.0 * MIB, 16.0 * MIB),
    heartbeats: rate(512.0, 100.0),
};

/// Budget of strangers through one connection. Heartbeats: 20 a second, the most that a node hears while heads rest.
const STRANGERS_OF_CARRIER: Rates = Rates {
    messages: rate(256.0, 32.0),
    bytes: rate(8.0 * MIB, MIB),
    heartbeats: rate(64.0, 20.0),
};

/// Budget of strangers through all connections together: messages of four connections, heartbeats of two.
const STRANGERS: Rates = Rates {
    messages: rate(1_024.0, 128.0),
    bytes: rate(32.0 * MIB, 4.0 * MIB),
    heartbeats: rate(128.0, 40.0),
};

/// Budget of all authors that are not vouched for, through all connections together: messages of eight authors.
const UNVOUCHED: Rates = Rates {
    messages: rate(4_096.0, 512.0),
    bytes: rate(128.0 * MIB, 16.0 * MIB),
    heartbeats: rate(512.0, 100.0),
};

/// Messages and heartbeats of authors not vouched for that one connection may bring; no honest node brings more. Four times
/// [`UNVOUCHED`], as the other side may vouch for authors that this side does not, and queues bunch messages up.
const ABUSE: Rate = rate(16_384.0, 2_448.0);

/// Carriers remembered, so that a peer that reconnects does not get a full budget again: four times a node's connections.
const CARRIERS_MAX: usize = 1024;

/// The standing of an author at this node, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthorClass {
    /// An author that this node never met.
    Stranger,
    /// An author that is connected and past the hello, or was so for at least a minute.
    Known,
    /// A member on the list of a joined model.
    Vouched,
}

/// The outcome of checking a message against its [`Carrier`]'s budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// The message is within the budgets.
    Within,
    /// The message is beyond one of the budgets; no peer is at fault.
    Beyond,
    /// The message is beyond the budgets, and the carrier has brought more than any honest node does. Returned once per
    /// [`ABUSE`] allowance, not for each message.
    Abuse,
}

struct Carrier {
    all: Budget,
    strangers: Budget,
    abuse: Allowance,
    used: Instant,
}

impl Carrier {
    fn new(now: Instant) -> Self {
        Self {
            all: Budget::new(&CARRIER, now),
            strangers: Budget::new(&STRANGERS_OF_CARRIER, now),
            abuse: Allowance::new(ABUSE, now),
            used: now,
        }
    }
}

/// The budgets of all carriers.
pub struct Carriers {
    carriers: BTreeMap<PeerId, Carrier>,
    strangers: Budget,
    unvouched: Budget,
}

impl Carriers {
    /// Makes full budgets, with no [`Carrier`] known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            carriers: BTreeMap::new(),
            strangers: Budget::new(&STRANGERS, now),
            unvouched: Budget::new(&UNVOUCHED, now),
        }
    }

    /// Takes a message out of all the budgets that it concerns, the narrowest first: what strangers bring beyond their own
    /// budgets costs the other authors of that connection nothing.
    pub fn take(&mut self, carrier: &PeerId, author: AuthorClass, load: Load, now: Instant) -> Carried {
        self.make_room(carrier);
        let (strangers, unvouched) = (&mut self.strangers, &mut self.unvouched);
        let carrier = self.carriers.entry(*carrier).or_insert_with(|| Carrier::new(now));
        carrier.used = carrier.used.max(now);
        if author != AuthorClass::Vouched && !carrier.abuse.take(1.0, now) {
            carrier.abuse = Allowance::new(ABUSE, now);
            return Carried::Abuse;
        }
        let of_strangers =
            author != AuthorClass::Stranger || (carrier.strangers.take(load, now) && strangers.take(load, now));
        let within = of_strangers
            && carrier.all.take(load, now)
            && (author == AuthorClass::Vouched || unvouched.take(load, now));
        if within { Carried::Within } else { Carried::Beyond }
    }

    /// Makes room for a new carrier by forgetting the one that was unused for longest.
    fn make_room(&mut self, carrier: &PeerId) {
        if self.carriers.len() >= CARRIERS_MAX && !self.carriers.contains_key(carrier) {
            let oldest = self.carriers.iter().min_by_key(|(_, c)| c.used).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.carriers.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use qres_wire::clock;

    use super::*;

    fn brought(
        carriers: &mut Carriers,
        by: &PeerId,
        author: AuthorClass,
        load: Load,
        count: usize,
        now: Instant,
    ) -> usize {
        let within = |_: &usize| carriers.take(by, author, load, now) == Carried::Within;
        (0..count).filter(within).count()
    }

    #[test]
    fn strangers_behind_one_connection_share_a_budget_and_cost_its_other_authors_nothing() {
        let now = clock::now();
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut carriers = Carriers::new(now);
        let mut take = |by, author, load, count, at| brought(&mut carriers, by, author, load, count, at);
        let small = Load::Message(100);
        assert_eq!(take(&a, AuthorClass::Stranger, small, 1_000, now), 256);
        assert_eq!(take(&a, AuthorClass::Stranger, Load::Heartbeat, 1_000, now), 64);
        let later = now + Duration::from_secs(1);
        assert_eq!(take(&a, AuthorClass::Stranger, small, 1_000, later), 32);
        assert_eq!(take(&a, AuthorClass::Stranger, Load::Heartbeat, 1_000, later), 20);
        assert_eq!(take(&a, AuthorClass::Known, small, 500, later), 500);
        assert_eq!(
            take(&b, AuthorClass::Stranger, small, 100, later),
            100,
            "another connection"
        );
        assert_eq!(
            take(&b, AuthorClass::Stranger, Load::Message(32_000), 1_000, later),
            156,
            "a budget of messages"
        );
        let c = PeerId::random();
        let large = Load::Message(64 * 1024);
        assert_eq!(take(&c, AuthorClass::Stranger, large, 1_000, later), 128, "8 MiB");
    }

    #[test]
    fn one_connection_carries_several_authors_worth_and_no_more() {
        let now = clock::now();
        let a = PeerId::random();
        let mut carriers = Carriers::new(now);
        let mut take = |author, load, count, at| brought(&mut carriers, &a, author, load, count, at);
        assert_eq!(take(AuthorClass::Vouched, Load::Message(100), 5_000, now), 2_048);
        assert_eq!(
            take(AuthorClass::Known, Load::Message(100), 100, now),
            0,
            "it is all used"
        );
        assert_eq!(take(AuthorClass::Vouched, Load::Heartbeat, 5_000, now), 512);
        let later = now + Duration::from_secs(1);
        assert_eq!(take(AuthorClass::Vouched, Load::Message(100), 5_000, later), 256);
        let rested = now + Duration::from_secs(60);
        assert_eq!(
            take(AuthorClass::Vouched, Load::Message(64 * 1024), 5_000, rested),
            2_048
        );
    }

    #[test]
    fn strangers_over_many_connections_share_a_budget_and_members_have_none_of_theirs() {
        let now = clock::now();
        let mut carriers = Carriers::new(now);
        let mut of_many = |author, load, each: usize| {
            let by = |_| brought(&mut carriers, &PeerId::random(), author, load, each, now);
            (0..100).map(by).sum::<usize>()
        };
        assert_eq!(of_many(AuthorClass::Stranger, Load::Message(100), 300), 1_024);
        assert_eq!(of_many(AuthorClass::Stranger, Load::Heartbeat, 300), 128);
        // The strangers' share counts against this budget too.
        assert_eq!(of_many(AuthorClass::Known, Load::Message(100), 300), 4_096 - 1_024);
        assert_eq!(of_many(AuthorClass::Known, Load::Heartbeat, 300), 512 - 128);
        assert_eq!(of_many(AuthorClass::Vouched, Load::Message(100), 300), 30_000);
        assert_eq!(of_many(AuthorClass::Vouched, Load::Heartbeat, 300), 30_000);
    }

    #[test]
    fn only_what_no_honest_node_forwards_is_a_fault() {
        let now = clock::now();
        let mut carriers = Carriers::new(now);
        let (flooder, honest) = (PeerId::random(), PeerId::random());
        let mut faults = |by: &PeerId, author, count: usize, at| {
            let fault = |_: &usize| carriers.take(by, author, Load::Message(100), at) == Carried::Abuse;
            (0..count).filter(fault).count()
        };
        assert_eq!(faults(&flooder, AuthorClass::Stranger, 16_384, now), 0);
        assert_eq!(faults(&flooder, AuthorClass::Stranger, 1, now), 1);
        assert_eq!(
            faults(&flooder, AuthorClass::Stranger, 16_384, now),
            0,
            "not one for each message"
        );
        // An honest node's whole budget at once, twice over, and then its rate for a minute.
        assert_eq!(faults(&honest, AuthorClass::Stranger, 2 * (4_096 + 512), now), 0);
        for second in 1..=60 {
            let at = now + Duration::from_secs(second);
            assert_eq!(faults(&honest, AuthorClass::Stranger, 512 + 100, at), 0);
        }
        assert_eq!(faults(&PeerId::random(), AuthorClass::Vouched, 50_000, now), 0);
    }

    #[test]
    fn connections_remembered_are_bounded() {
        let now = clock::now();
        let mut carriers = Carriers::new(now);
        let first = PeerId::random();
        carriers.take(&first, AuthorClass::Known, Load::Heartbeat, now);
        for n in 1..=CARRIERS_MAX as u64 {
            let at = now + Duration::from_millis(n);
            carriers.take(&PeerId::random(), AuthorClass::Known, Load::Heartbeat, at);
        }
        assert_eq!(carriers.carriers.len(), CARRIERS_MAX);
        assert!(!carriers.carriers.contains_key(&first));
    }
}
