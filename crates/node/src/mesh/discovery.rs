//! Finding others: the bootstrap addresses, peers known from before, and Kademlia lookups.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, kad};
use qres_fed::id::NodeId;
use rand::seq::SliceRandom;

use super::MeshError;
use super::actor::{Actor, jitter};
use super::address::{self, Reach, Target};
use super::backoff::Backoff;
use super::command::Reply;
use super::hello;
use super::peers::Link;
use crate::identity;

/// Bootstrap addresses taken from the settings.
pub const SEEDS_MAX: usize = 64;

/// Known peers dialled at the same time.
const DIALS_MAX: usize = 8;

/// Lookups under way.
const LOOKUPS_MAX: usize = 4;

/// Operators' dials under way that are remembered; the outcome of further ones is only logged at debug level.
const ASKED_MAX: usize = 64;

/// Addresses of one peer dialled at the same time.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(4).unwrap();

/// A peer that was never connected is forgotten after this many failed dials (some 10 minutes).
const FAILURES_MAX: u32 = 16;

/// A peer that said it is busy is asked again after this.
pub const BUSY_WAIT: Duration = Duration::from_mins(1);

/// A bootstrap address and what is known of it.
pub struct Seed {
    /// As the operator wrote it.
    text: String,
    target: Target,
    /// Who answered there; dialling without knowing whom would make a second connection.
    learnt: Option<PeerId>,
    backoff: Backoff,
    dialing: Option<ConnectionId>,
    /// The wait that was last logged: each is said once.
    logged: Option<Duration>,
    /// It leads back to this node.
    own: bool,
}

/// State of the search.
pub struct Discovery {
    seeds: Vec<Seed>,
    lookup_next: Instant,
    lookup_wait: Duration,
    lookups: u64,
    asked: Vec<Asked>,
}

/// An operator's dial under way.
struct Asked {
    id: ConnectionId,
    /// As written.
    text: String,
    /// Addresses still to try.
    rest: Vec<Multiaddr>,
    /// Who waits to hear who is there.
    reply: Option<Reply<NodeId>>,
}

/// Fails only when the caller no longer waits.
fn answer(reply: Option<Reply<NodeId>>, outcome: Result<NodeId, MeshError>) {
    if let Some(reply) = reply {
        drop(reply.send(outcome));
    }
}

impl Discovery {
    /// Reads the bootstrap addresses; one that cannot be read is the operator's mistake and stops the start.
    pub fn new(bootstrap: &[String], lookup_wait: Duration, now: Instant) -> Result<Self, MeshError> {
        let mut seeds: Vec<Seed> = Vec::new();
        if bootstrap.len() > SEEDS_MAX {
            return Err(MeshError::Setup(format!(
                "{} bootstrap addresses, at most {SEEDS_MAX}: name fewer with --bootstrap",
                bootstrap.len()
            )));
        }
        for text in bootstrap {
            let target = address::parse(text)?;
            if seeds.iter().any(|s| s.target == target) {
                continue;
            }
            seeds.push(Seed {
                text: text.clone(),
                learnt: target.peer,
                target,
                backoff: Backoff::new(now),
                dialing: None,
                logged: None,
                own: false,
            });
        }
        Ok(Self {
            seeds,
            lookup_next: now,
            lookup_wait,
            lookups: 0,
            asked: Vec::new(),
        })
    }

    /// Someone came or went: look again soon.
    pub fn hurry(&mut self, wait: Duration, now: Instant) {
        self.lookup_wait = wait;
        self.lookup_next = self.lookup_next.min(now + wait);
    }

    fn lookup_due(&mut self, max: Duration, now: Instant) -> bool {
        if now < self.lookup_next {
            return false;
        }
        self.lookup_next = now + self.lookup_wait;
        self.lookup_wait = (self.lookup_wait * 2).min(max);
        self.lookups += 1;
        true
    }

    /// A dial of ours reached this peer. `true` = an operator's.
    pub fn reached(&mut self, id: ConnectionId, peer: PeerId) -> bool {
        let asked: Vec<_> = self.asked.extract_if(.., |asked| asked.id == id).collect();
        let by_operator = !asked.is_empty();
        for asked in asked {
            let node = identity::node_id(&peer).ok_or_else(|| MeshError::Dial("no node answers there".into()));
            answer(asked.reply, node);
        }
        for seed in self.seeds.iter_mut().filter(|s| s.dialing == Some(id)) {
            seed.dialing = None;
            if seed.learnt != Some(peer) {
                tracing::info!(bootstrap = %seed.text, %peer, "bootstrap node reached");
                seed.learnt = Some(peer);
            }
        }
        by_operator
    }

    /// The peer was admitted: its address works.
    pub fn admitted(&mut self, peer: &PeerId, wait: Duration, now: Instant) {
        for seed in self.seeds.iter_mut().filter(|s| s.learnt.as_ref() == Some(peer)) {
            seed.backoff.reset(wait, jitter(), now);
            seed.logged = None;
        }
    }

    /// The peer refused, or was refused: not before then.
    pub fn not_before(&mut self, peer: &PeerId, at: Instant) {
        for seed in self.seeds.iter_mut().filter(|s| s.learnt.as_ref() == Some(peer)) {
            seed.backoff.not_before(at);
        }
    }

    fn seed_of(&mut self, id: ConnectionId) -> Option<&mut Seed> {
        self.seeds.iter_mut().find(|s| s.dialing == Some(id))
    }
}

impl Seed {
    /// Notes a failed dial, and says so once a wait.
    fn fail(&mut self, why: &str, min: Duration, max: Duration, now: Instant) {
        self.dialing = None;
        let wait = self.backoff.fail(min, max, jitter(), now);
        if self.logged != Some(wait) {
            self.logged = Some(wait);
            tracing::warn!(
                bootstrap = %self.text,
                "bootstrap node {} cannot be reached ({why}): trying again, now every {} ms",
                self.text,
                wait.as_millis()
            );
        }
    }
}

/// What went wrong, in words.
pub fn words(error: &DialError) -> String {
    match error {
        DialError::LocalPeerId { .. } => "this node's own identity answers there".to_owned(),
        DialError::NoAddresses => "no address known".to_owned(),
        DialError::WrongPeerId { obtained, .. } => format!("another node answers there: {obtained}"),
        DialError::Transport(errors) => {
            let first = errors.first().map(|(address, error)| {
                let mut cause: &dyn std::error::Error = error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                format!("{address}: {cause}")
            });
            hello::cut(&first.unwrap_or_else(|| "no answer".to_owned()), 200)
        }
        DialError::Denied { cause } => format!("connection limit or ban: {cause}"),
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => error.to_string(),
    }
}

impl Actor {
    /// Due work: dials and lookups.
    pub(super) fn tick_discovery(&mut self, now: Instant) {
        let admitted = self.book.admitted_count();
        let target = self.peers_target();
        if admitted < target {
            self.dial_seeds(now);
        }
        self.dial_known(target.saturating_sub(admitted), now);
        let looking = self.swarm.behaviour().kad.iter_queries().count();
        if admitted > 0 && looking < LOOKUPS_MAX && self.discovery.lookup_due(self.config.timings.lookup_wait_max, now)
        {
            // Own id first: whoever is near learns of us. Then random ones, which reach every bucket.
            let target = if self.discovery.lookups % 2 == 1 {
                self.own
            } else {
                PeerId::random()
            };
            self.swarm.behaviour_mut().kad.get_closest_peers(target);
        }
    }

    /// Dial up to this many; a quarter of the connections is left to those who come in.
    fn peers_target(&self) -> usize {
        let most = self.config.connections_max as usize * 3 / 4;
        self.config.peers_target.min(most.max(1))
    }

    fn dial_seeds(&mut self, now: Instant) {
        for at in 0..self.discovery.seeds.len() {
            let seed = &self.discovery.seeds[at];
            let busy = seed.learnt.is_some_and(|p| {
                self.book.ban_of(&p).is_some()
                    || self
                        .book
                        .get(&p)
                        .is_some_and(|p| p.link != Link::Idle || !p.connections.is_empty() || !p.backoff.due(now))
            });
            if seed.own || seed.dialing.is_some() || busy || !seed.backoff.due(now) {
                continue;
            }
            let failures = seed.backoff.failures();
            let addresses = &seed.target.addresses;
            let options = match seed.learnt {
                Some(peer) => known_peer(peer, address::to_dial(addresses, failures)),
                None => {
                    let turn = failures as usize % addresses.len();
                    unknown_peer(addresses[turn].clone())
                }
            };
            let id = options.connection_id();
            self.discovery.seeds[at].dialing = Some(id);
            if let Err(error) = self.swarm.dial(options) {
                self.on_dial_error(id, None, &error, now);
            }
        }
    }

    fn dial_known(&mut self, missing: usize, now: Instant) {
        let dialing = self.book.iter().filter(|p| p.link == Link::Dialing).count();
        let room = missing.saturating_sub(dialing);
        let mut due: Vec<_> = self
            .book
            .iter()
            .filter(|p| p.link == Link::Idle && p.connections.is_empty() && !p.addresses.is_empty())
            .filter(|p| p.backoff.due(now) && self.book.ban_of(&p.id).is_none())
            .map(|p| (!p.wanted, p.backoff.failures(), p.id))
            .collect();
        // Among equals a random one, or every node of a swarm would dial the same few.
        due.shuffle(&mut rand::rng());
        due.sort_by_key(|(unwanted, failures, _)| (*unwanted, *failures));
        let mut slots = DIALS_MAX.saturating_sub(dialing);
        for (taken, (unwanted, failures, id)) in due.into_iter().enumerate() {
            if slots == 0 || (unwanted && taken >= room) {
                return;
            }
            slots -= 1;
            let addresses = self.book.get(&id).map(|p| address::to_dial(&p.addresses, failures));
            self.dial_peer(id, addresses.unwrap_or_default(), now);
        }
    }

    fn dial_peer(&mut self, id: PeerId, addresses: Vec<Multiaddr>, now: Instant) {
        let options = known_peer(id, addresses);
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.note_dialing(id, now),
            Err(error) => self.on_dial_error(connection, Some(id), &error, now),
        }
    }

    /// Some behaviour or we ourselves dial a peer.
    pub(super) fn note_dialing(&mut self, id: PeerId, now: Instant) {
        if let Some(peer) = self.book.entry(id, now)
            && peer.link == Link::Idle
        {
            peer.link = Link::Dialing;
            self.outbox.peer_changed(id);
        }
    }

    /// A dial failed.
    pub(super) fn on_dial_error(&mut self, id: ConnectionId, peer: Option<PeerId>, error: &DialError, now: Instant) {
        let (min, max) = (self.config.timings.dial_wait_min, self.config.timings.dial_wait_max);
        let harmless = matches!(error, DialError::DialPeerConditionFalse(_));
        if !harmless {
            self.counters.dial_failures.add();
        }
        if let Some(seed) = self.discovery.seed_of(id) {
            match error {
                DialError::DialPeerConditionFalse(_) => seed.dialing = None,
                DialError::LocalPeerId { address } if address::is_one_of(address, &self.listening) => {
                    tracing::info!(bootstrap = %seed.text, "this bootstrap address is this very node: not dialled");
                    seed.dialing = None;
                    seed.own = true;
                }
                DialError::WrongPeerId { .. } if seed.target.peer.is_none() => {
                    // It has a new identity: learn it anew.
                    seed.learnt = None;
                    seed.fail(&words(error), min, max, now);
                }
                _ => seed.fail(&words(error), min, max, now),
            }
        }
        if let Some(at) = self.discovery.asked.iter().position(|a| a.id == id) {
            let asked = self.discovery.asked.swap_remove(at);
            self.dial_next(asked.text, asked.rest, asked.reply, &words(error));
        }
        if let DialError::LocalPeerId { address } = error {
            self.on_own_answer(address, now);
        } else if let DialError::WrongPeerId { obtained, address } = error {
            self.move_address(peer, *obtained, address, now);
        }
        if let Some(peer) = peer.filter(|_| !harmless) {
            self.note_dial_failed(peer, now);
        }
    }

    fn note_dial_failed(&mut self, id: PeerId, now: Instant) {
        let (min, max) = (self.config.timings.dial_wait_min, self.config.timings.dial_wait_max);
        let Some(peer) = self.book.get_mut(&id) else { return };
        if peer.link == Link::Dialing {
            peer.link = Link::Idle;
        }
        if !peer.connections.is_empty() {
            return;
        }
        // Once known, always tried, but ten times as slowly after long silence.
        let max = if peer.backoff.failures() > FAILURES_MAX {
            max * 10
        } else {
            max
        };
        peer.backoff.fail(min, max, jitter(), now);
        let never_good = peer.last_good_unix_ms == 0;
        if never_good && (peer.addresses.is_empty() || peer.backoff.failures() >= FAILURES_MAX) {
            self.swarm.behaviour_mut().kad.remove_peer(&id);
            if self.book.ban_of(&id).is_none() {
                self.book.remove(&id);
            }
        }
        self.outbox.peer_changed(id);
    }

    /// Another peer answers at an address than the book says.
    fn move_address(&mut self, from: Option<PeerId>, to: PeerId, at: &Multiaddr, now: Instant) {
        let Some((_, bare)) = address::split_peer(at.clone()) else {
            return;
        };
        if let Some(peer) = from.and_then(|p| self.book.get_mut(&p)) {
            peer.addresses.retain(|a| *a != bare);
        }
        if let Some(from) = from {
            self.swarm.behaviour_mut().kad.remove_address(&from, at);
        }
        if to == self.own {
            self.on_own_answer(at, now);
        } else {
            self.book.learn(to, &[bare], Reach::Loopback, now);
        }
    }

    /// An operator's dial, which is to be answered with who is there.
    pub(super) fn reach(&mut self, text: &str, reply: Reply<NodeId>, now: Instant) {
        match address::parse(text) {
            // What goes wrong from here on is answered there.
            Ok(_) => drop(self.dial(text, Some(reply), now)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// An operator's dial.
    pub(super) fn dial(&mut self, text: &str, reply: Option<Reply<NodeId>>, now: Instant) -> Result<(), MeshError> {
        let target = address::parse(text)?;
        let by_address = target.addresses.clone();
        let Some(peer) = target.peer else {
            let mut rest = by_address;
            rest.reverse();
            self.dial_next(text.to_owned(), rest, reply, "no address");
            return Ok(());
        };
        let Some(entry) = self.book.entry(peer, now).filter(|_| peer != self.own) else {
            answer(reply, Err(MeshError::Address(text.to_owned())));
            return Err(MeshError::Address(text.to_owned()));
        };
        entry.wanted = true;
        for address in by_address {
            if !entry.addresses.contains(&address) {
                entry.addresses.insert(0, address);
                entry.addresses.truncate(address::ADDRESSES_MAX);
            }
        }
        if entry.link != Link::Idle {
            answer(reply, Ok(entry.node));
            return Ok(());
        }
        let options = known_peer(peer, entry.addresses.clone());
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.note_dialing(peer, now);
                self.remember(id, text.to_owned(), vec![], reply);
            }
            Err(error) => {
                answer(reply, Err(MeshError::Dial(words(&error))));
                self.on_dial_error(id, Some(peer), &error, now);
            }
        }
        Ok(())
    }

    /// Dials the next (last) of an operator's addresses, or says that none worked.
    fn dial_next(&mut self, text: String, mut rest: Vec<Multiaddr>, reply: Option<Reply<NodeId>>, why: &str) {
        let mut why = why.to_owned();
        while let Some(address) = rest.pop() {
            let options = unknown_peer(address);
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => return self.remember(id, text, rest, reply),
                Err(error) => why = words(&error),
            }
        }
        tracing::warn!("dial of {} failed: {why}", hello::cut(&text, 80));
        answer(reply, Err(MeshError::Dial(why)));
    }

    fn remember(&mut self, id: ConnectionId, text: String, rest: Vec<Multiaddr>, reply: Option<Reply<NodeId>>) {
        let asked = &mut self.discovery.asked;
        if asked.len() < ASKED_MAX {
            return asked.push(Asked { id, text, rest, reply });
        }
        let many = format!("its outcome is not followed: {ASKED_MAX} dials are under way");
        answer(reply, Err(MeshError::Dial(many)));
    }

    /// One event of Kademlia's.
    pub(super) fn on_kad(&mut self, event: kad::Event, now: Instant) {
        let kad::Event::OutboundQueryProgressed {
            result: kad::QueryResult::GetClosestPeers(Ok(found)),
            ..
        } = event
        else {
            return;
        };
        // Others' claims: what they see at loopback is only worth something when we are on the same host.
        let seen = self.book.admitted().filter_map(super::peers::Peer::reach).min();
        let seen = seen.unwrap_or(Reach::Global);
        for peer in found.peers.into_iter().filter(|p| p.peer_id != self.own) {
            if self.book.get(&peer.peer_id).is_none() {
                self.book.learn(peer.peer_id, &peer.addrs, seen, now);
                self.discovery.hurry(self.config.timings.lookup_wait_min, now);
            }
        }
    }
}

/// Dials a peer by id, from a fresh port: dialling from the listening port lets two nodes that dial each other meet in one
/// TCP connection that both think they opened, and both handshakes fail.
fn known_peer(peer: PeerId, addresses: Vec<Multiaddr>) -> DialOpts {
    DialOpts::peer_id(peer)
        .condition(PeerCondition::DisconnectedAndNotDialing)
        .addresses(addresses)
        .override_dial_concurrency_factor(DIAL_CONCURRENCY)
        .allocate_new_port()
        .build()
}

/// Dials an address, whoever is there.
fn unknown_peer(address: Multiaddr) -> DialOpts {
    DialOpts::unknown_peer_id().address(address).allocate_new_port().build()
}
