//! The state of the search for peers: bootstrap addresses, operators' dials, and the time of the next Kademlia lookup.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use rand::seq::SliceRandom;
use tokio::sync::mpsc;

use super::address;
use super::error::MeshError;
use super::operator_dial::OperatorDial;
use super::resolver::Answer;
use super::seed::Seed;
use super::seed_name::SeedName;

/// Largest number of bootstrap addresses in the settings, each a [`Seed`] or a [`SeedName`].
const SEEDS_MAX: usize = 64;

/// Places of one bootstrap name that this node dials. In a larger swarm each node takes some at random, and Kademlia leads to
/// the others.
const PLACES_MAX: usize = 16;

/// Time after which a peer that said "busy" is dialled again.
pub const BUSY_WAIT: Duration = Duration::from_mins(1);

/// The state of the search for peers.
pub struct Discovery {
    pub(super) seeds: Vec<Seed>,
    /// The bootstrap names; their places are among the seeds.
    pub(super) names: Vec<SeedName>,
    /// The channel for the answers to questions about a name, by its index.
    pub(super) answers: mpsc::Sender<(usize, Answer)>,
    pub(super) operator_dials: Vec<OperatorDial>,
    /// Dials under way to a place whose peer another dial has already reached. Each ends within `Timings::dial`.
    pub(super) surplus: BTreeSet<ConnectionId>,
    lookup_next: Instant,
    lookup_wait: Duration,
    /// Number of lookups so far.
    pub(super) lookups: u64,
}

/// The use of a new connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// True if an operator asked for the connection.
    pub for_operator: bool,
    /// True if another dial was faster, so this connection is not needed.
    pub surplus: bool,
}

impl Discovery {
    /// Reads the bootstrap addresses. An address that cannot be read is the operator's mistake, so it stops the start with an
    /// error. Returns the state of the search, and the receiver of the answers to its questions about names.
    pub fn new(
        bootstrap: &[String],
        lookup_wait: Duration,
        now: Instant,
    ) -> Result<(Self, mpsc::Receiver<(usize, Answer)>), MeshError> {
        let (answers, receiver) = mpsc::channel(SEEDS_MAX);
        let mut discovery = Self {
            seeds: Vec::new(),
            names: Vec::new(),
            answers,
            operator_dials: Vec::new(),
            surplus: BTreeSet::new(),
            lookup_next: now,
            lookup_wait,
            lookups: 0,
        };
        discovery.read(bootstrap, now)?;
        Ok((discovery, receiver))
    }

    fn read(&mut self, bootstrap: &[String], now: Instant) -> Result<(), MeshError> {
        if bootstrap.len() > SEEDS_MAX {
            return Err(MeshError::Setup(format!(
                "{} bootstrap addresses, at most {SEEDS_MAX}: name fewer with --bootstrap",
                bootstrap.len()
            )));
        }
        let mut known = Vec::new();
        for text in bootstrap {
            let target = address::parse(text)?;
            if known.contains(&target) {
                continue;
            }
            match SeedName::new(text, &target, now) {
                Some(name) => self.names.push(name),
                None => self.seeds.push(Seed::new(text.clone(), target.clone(), None, now)),
            }
            known.push(target);
        }
        Ok(())
    }

    /// Takes the answer to a question about the name `at`: the seeds are then its places of now. Without an answer the places
    /// stay as they are.
    pub(super) fn resolved(&mut self, at: usize, answer: Answer, min: Duration, max: Duration, now: Instant) {
        let Some(name) = self.names.get_mut(at) else { return };
        let Some(mut places) = name.answered(answer, min, max, now) else {
            return;
        };
        self.seeds
            .retain(|seed| seed.name != Some(at) || places.iter().any(|(_, target)| *target == seed.target));
        let mut taken = self.seeds.iter().filter(|seed| seed.name == Some(at)).count();
        // If every node took the first ones, these would get the dials of all others.
        places.shuffle(&mut rand::rng());
        for (ip, target) in places {
            if taken < PLACES_MAX && !self.seeds.iter().any(|seed| seed.target == target) {
                self.seeds.push(Seed::new(name.text_of(ip), target, Some(at), now));
                taken += 1;
            }
        }
    }

    /// Makes a lookup due soon, since a peer came, left or became known.
    pub fn hurry(&mut self, wait: Duration, now: Instant) {
        self.lookup_wait = wait;
        self.lookup_next = self.lookup_next.min(now + wait);
    }

    /// Returns true if a lookup is due, and counts it. The wait for the next one doubles, up to `max`.
    pub(super) fn lookup_due(&mut self, max: Duration, now: Instant) -> bool {
        if now < self.lookup_next {
            return false;
        }
        self.lookup_next = now + self.lookup_wait;
        self.lookup_wait = (self.lookup_wait * 2).min(max);
        self.lookups += 1;
        true
    }

    /// Notes that a connection is open, from one of these dials or in another way. Returns its use as [`Reached`].
    pub fn reached(&mut self, id: ConnectionId, peer: PeerId) -> Reached {
        let mut reached = Reached {
            surplus: self.surplus.remove(&id),
            ..Reached::default()
        };
        for dial in self.operator_dials.extract_if(.., |dial| dial.owns(id)) {
            reached.for_operator = true;
            self.surplus.extend(dial.reached(id, peer));
        }
        for seed in self.seeds.iter_mut().filter(|seed| seed.owns(id)) {
            self.surplus.extend(seed.reached(id, peer));
        }
        reached
    }

    /// Notes that the peer was admitted, so its bootstrap address ([`Seed`]) works.
    pub fn admitted(&mut self, peer: &PeerId, wait: Duration, now: Instant) {
        for seed in &mut self.seeds {
            seed.admitted(peer, wait, now);
        }
    }

    /// Puts off the next dial of a peer that refused this node, or that was refused, to the time `at`.
    pub fn not_before(&mut self, peer: &PeerId, at: Instant) {
        for seed in &mut self.seeds {
            seed.not_before(peer, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use qres_wire::clock;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn texts(discovery: &Discovery) -> Vec<&str> {
        let mut texts: Vec<&str> = discovery.seeds.iter().map(|seed| seed.text.as_str()).collect();
        texts.sort_unstable();
        texts
    }

    fn ips(last: impl IntoIterator<Item = u8>) -> Answer {
        Ok(last
            .into_iter()
            .map(|n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)))
            .collect())
    }

    #[test]
    fn the_places_of_a_name_come_and_go_with_its_addresses() {
        let now = clock::now();
        let written = ["10.0.0.1".to_owned(), "pods".to_owned(), "pods:4001".to_owned()];
        let (mut discovery, _answers) = Discovery::new(&written, WAIT, now).unwrap();
        assert_eq!((texts(&discovery), discovery.names.len()), (vec!["10.0.0.1"], 1));
        discovery.resolved(0, ips([1, 2, 3]), WAIT, WAIT, now);
        assert_eq!(
            texts(&discovery),
            ["10.0.0.1", "pods (10.0.0.2)", "pods (10.0.0.3)"],
            "a place that the operator wrote is not dialled twice"
        );
        discovery.resolved(0, ips([3, 4]), WAIT, WAIT, now);
        assert_eq!(texts(&discovery), ["10.0.0.1", "pods (10.0.0.3)", "pods (10.0.0.4)"]);
        discovery.resolved(0, Err("no answer".to_owned()), WAIT, WAIT, now);
        assert_eq!(texts(&discovery).len(), 3, "a resolver that is down removes nothing");
    }

    #[test]
    fn a_name_of_many_nodes_gives_each_node_a_few_of_them_and_keeps_those() {
        let now = clock::now();
        let (mut discovery, _answers) = Discovery::new(&["pods".to_owned()], WAIT, now).unwrap();
        discovery.resolved(0, ips(0..200), WAIT, WAIT, now);
        let first: Vec<String> = texts(&discovery).into_iter().map(str::to_owned).collect();
        assert_eq!(first.len(), PLACES_MAX);
        discovery.resolved(0, ips((0..200).rev()), WAIT, WAIT, now);
        assert_eq!(texts(&discovery), first);
    }
}
