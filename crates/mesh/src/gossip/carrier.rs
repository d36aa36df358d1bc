//! How much one connection may carry, whoever the authors are: new identities are free, connections are not.
//!
//! An author stands in one of three ways:
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
//! The budgets of one connection are several times an author's (512 and 64 messages), since an honest neighbour brings the
//! first copies of many authors' messages: with a degree of D = 8 an eighth of the swarm's on average, all of them when it is
//! the only neighbour. All strangers behind one connection together get half of what one author gets: however many keys a
//! flood uses, it is worth less than one key. Who is vouched for shares none of the budgets over all connections, so
//! strangers cannot crowd members out.
//!
//! A message beyond a budget is ignored: it is not forwarded, so a flood dies at the first honest node, and nobody is
//! blamed for it. An honest node forwards nothing beyond its own budgets, so what it brings to its neighbours is bounded
//! whatever attackers bring to it: at most the last line of the table, and its members' messages. A connection that
//! brings four times that line (`ABUSE`) belongs to no honest node, and that is a fault of the carrier's.

use std::collections::BTreeMap;
use std::time::Instant;

use libp2p::PeerId;

use super::budget::{Allowance, Budget, Load, Rate, Rates, rate};

const MIB: f64 = 1024.0 * 1024.0;

/// All that one connection carries: four times an author's messages and bytes. Heartbeats: 512 members at once, then the
/// most that a node hears in a second while heads move (heartbeat.rs).
const CARRIER: Rates = Rates {
    messages: rate(2_048.0, 256.0),
    bytes: rate(128.0 * MIB, 16.0 * MIB),
    heartbeats: rate(512.0, 100.0),
};

/// What strangers send through one connection. Heartbeats: the most that a node hears in a second while heads rest.
const STRANGERS_OF_CARRIER: Rates = Rates {
    messages: rate(256.0, 32.0),
    bytes: rate(8.0 * MIB, MIB),
    heartbeats: rate(64.0, 20.0),
};

/// What strangers send through all connections together: four connections' worth of messages, two of heartbeats.
const STRANGERS: Rates = Rates {
    messages: rate(1_024.0, 128.0),
    bytes: rate(32.0 * MIB, 4.0 * MIB),
    heartbeats: rate(128.0, 40.0),
};

/// What all that are not vouched for send through all connections together: eight authors' worth of messages.
const UNVOUCHED: Rates = Rates {
    messages: rate(4_096.0, 512.0),
    bytes: rate(128.0 * MIB, 16.0 * MIB),
    heartbeats: rate(512.0, 100.0),
};

/// Messages and heartbeats of authors not vouched for on one connection, beyond which no honest node is behind it: four
/// times `UNVOUCHED`, as the other side may vouch for authors that this side does not, and queues bunch messages up.
const ABUSE: Rate = rate(16_384.0, 2_448.0);

/// Connections remembered, so that coming again does not fill a budget: four times the connections of a node.
const CARRIERS_MAX: usize = 1024;

/// How an author stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Never met.
    Stranger,
    /// Connected and past the hello, or it was for long enough.
    Known,
    /// A member of a joined list.
    Vouched,
}

/// What becomes of a message, as far as its carrier is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It is within the budgets.
    Within,
    /// It is beyond one of them: nobody is to blame.
    Beyond,
    /// The same, and no honest node brings that much: said once in a while.
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

/// The budgets of all connections.
pub struct Carriers {
    carriers: BTreeMap<PeerId, Carrier>,
    strangers: Budget,
    unvouched: Budget,
}

impl Carriers {
    /// Nobody has brought anything yet.
    pub fn new(now: Instant) -> Self {
        Self {
            carriers: BTreeMap::new(),
            strangers: Budget::new(&STRANGERS, now),
            unvouched: Budget::new(&UNVOUCHED, now),
        }
    }

    /// Takes what a peer brought out of the budgets that it concerns, the narrowest first: what strangers may not bring costs
    /// the others of that connection nothing.
    pub fn take(&mut self, carrier: &PeerId, author: Standing, load: Load, now: Instant) -> Carried {
        self.make_room(carrier);
        let (strangers, unvouched) = (&mut self.strangers, &mut self.unvouched);
        let carrier = self.carriers.entry(*carrier).or_insert_with(|| Carrier::new(now));
        carrier.used = carrier.used.max(now);
        if author != Standing::Vouched && !carrier.abuse.take(1.0, now) {
            carrier.abuse = Allowance::new(ABUSE, now);
            return Carried::Abuse;
        }
        let of_strangers =
            author != Standing::Stranger || (carrier.strangers.take(load, now) && strangers.take(load, now));
        let within =
            of_strangers && carrier.all.take(load, now) && (author == Standing::Vouched || unvouched.take(load, now));
        if within { Carried::Within } else { Carried::Beyond }
    }

    /// The connection that was unused for longest makes room.
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

    use super::*;

    fn brought(
        carriers: &mut Carriers,
        by: &PeerId,
        author: Standing,
        load: Load,
        count: usize,
        now: Instant,
    ) -> usize {
        let within = |_: &usize| carriers.take(by, author, load, now) == Carried::Within;
        (0..count).filter(within).count()
    }

    #[test]
    fn strangers_behind_one_connection_share_a_budget_and_cost_its_other_authors_nothing() {
        let now = Instant::now();
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut carriers = Carriers::new(now);
        let mut take = |by, author, load, count, at| brought(&mut carriers, by, author, load, count, at);
        let small = Load::Message(100);
        assert_eq!(take(&a, Standing::Stranger, small, 1_000, now), 256);
        assert_eq!(take(&a, Standing::Stranger, Load::Heartbeat, 1_000, now), 64);
        let later = now + Duration::from_secs(1);
        assert_eq!(take(&a, Standing::Stranger, small, 1_000, later), 32);
        assert_eq!(take(&a, Standing::Stranger, Load::Heartbeat, 1_000, later), 20);
        assert_eq!(take(&a, Standing::Known, small, 500, later), 500);
        assert_eq!(
            take(&b, Standing::Stranger, small, 100, later),
            100,
            "another connection"
        );
        assert_eq!(
            take(&b, Standing::Stranger, Load::Message(32_000), 1_000, later),
            156,
            "a budget of messages"
        );
        let c = PeerId::random();
        let large = Load::Message(64 * 1024);
        assert_eq!(take(&c, Standing::Stranger, large, 1_000, later), 128, "8 MiB");
    }

    #[test]
    fn one_connection_carries_several_authors_worth_and_no_more() {
        let now = Instant::now();
        let a = PeerId::random();
        let mut carriers = Carriers::new(now);
        let mut take = |author, load, count, at| brought(&mut carriers, &a, author, load, count, at);
        assert_eq!(take(Standing::Vouched, Load::Message(100), 5_000, now), 2_048);
        assert_eq!(take(Standing::Known, Load::Message(100), 100, now), 0, "it is all used");
        assert_eq!(take(Standing::Vouched, Load::Heartbeat, 5_000, now), 512);
        let later = now + Duration::from_secs(1);
        assert_eq!(take(Standing::Vouched, Load::Message(100), 5_000, later), 256);
        let rested = now + Duration::from_secs(60);
        assert_eq!(take(Standing::Vouched, Load::Message(64 * 1024), 5_000, rested), 2_048);
    }

    #[test]
    fn strangers_over_many_connections_share_a_budget_and_members_have_none_of_theirs() {
        let now = Instant::now();
        let mut carriers = Carriers::new(now);
        let mut of_many = |author, load, each: usize| {
            let by = |_| brought(&mut carriers, &PeerId::random(), author, load, each, now);
            (0..100).map(by).sum::<usize>()
        };
        assert_eq!(of_many(Standing::Stranger, Load::Message(100), 300), 1_024);
        assert_eq!(of_many(Standing::Stranger, Load::Heartbeat, 300), 128);
        // Strangers' share is in it.
        assert_eq!(of_many(Standing::Known, Load::Message(100), 300), 4_096 - 1_024);
        assert_eq!(of_many(Standing::Known, Load::Heartbeat, 300), 512 - 128);
        assert_eq!(of_many(Standing::Vouched, Load::Message(100), 300), 30_000);
        assert_eq!(of_many(Standing::Vouched, Load::Heartbeat, 300), 30_000);
    }

    #[test]
    fn only_what_no_honest_node_forwards_is_a_fault() {
        let now = Instant::now();
        let mut carriers = Carriers::new(now);
        let (flooder, honest) = (PeerId::random(), PeerId::random());
        let mut faults = |by: &PeerId, author, count: usize, at| {
            let fault = |_: &usize| carriers.take(by, author, Load::Message(100), at) == Carried::Abuse;
            (0..count).filter(fault).count()
        };
        assert_eq!(faults(&flooder, Standing::Stranger, 16_384, now), 0);
        assert_eq!(faults(&flooder, Standing::Stranger, 1, now), 1);
        assert_eq!(
            faults(&flooder, Standing::Stranger, 16_384, now),
            0,
            "not one for each message"
        );
        // All that an honest node's budgets let through, for a minute, and twice that in a bunch.
        assert_eq!(faults(&honest, Standing::Stranger, 2 * (4_096 + 512), now), 0);
        for second in 1..=60 {
            let at = now + Duration::from_secs(second);
            assert_eq!(faults(&honest, Standing::Stranger, 512 + 100, at), 0);
        }
        assert_eq!(faults(&PeerId::random(), Standing::Vouched, 50_000, now), 0);
    }

    #[test]
    fn connections_remembered_are_bounded() {
        let now = Instant::now();
        let mut carriers = Carriers::new(now);
        let first = PeerId::random();
        carriers.take(&first, Standing::Known, Load::Heartbeat, now);
        for n in 1..=CARRIERS_MAX as u64 {
            let at = now + Duration::from_millis(n);
            carriers.take(&PeerId::random(), Standing::Known, Load::Heartbeat, at);
        }
        assert_eq!(carriers.carriers.len(), CARRIERS_MAX);
        assert!(!carriers.carriers.contains_key(&first));
    }
}
