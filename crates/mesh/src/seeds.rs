//! Bootstrap addresses (seeds), at which this node looks for its first peers.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::swarm::{ConnectionId, DialError};

use super::actor::Actor;
use super::address::{self, Target};
use super::attempt::Attempt;
use super::backoff::{Backoff, jitter};
use super::dial::{self, known_peer, words};
use super::error::MeshError;
use super::peer_table::Link;

/// Largest number of bootstrap addresses in the settings, each a [`Seed`].
pub const SEEDS_MAX: usize = 64;

/// A bootstrap address, with the state of its dials.
pub struct Seed {
    /// The address as the operator wrote it.
    text: String,
    target: Target,
    /// The peer that answered there. Once it is known, it is dialled by its id, since a dial by the address alone would make
    /// a second connection.
    learnt: Option<PeerId>,
    backoff: Backoff,
    attempt: Option<Attempt>,
    /// The wait that was logged last: each length of the wait is logged once.
    logged: Option<Duration>,
    /// True if the address leads back to this node.
    own: bool,
}

/// Reads the bootstrap addresses. An address that cannot be read is the operator's mistake, so it stops the start with an
/// error.
pub fn read(bootstrap: &[String], now: Instant) -> Result<Vec<Seed>, MeshError> {
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
            attempt: None,
            logged: None,
            own: false,
        });
    }
    Ok(seeds)
}

impl Seed {
    /// Returns true if the dial `id` is one of the seed's.
    pub fn owns(&self, id: ConnectionId) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.owns(id))
    }

    /// Notes that the dial `id` reached a peer. Returns the seed's other dials, whose connections are not needed.
    pub fn reached(&mut self, id: ConnectionId, peer: PeerId) -> Vec<ConnectionId> {
        if self.learnt != Some(peer) {
            tracing::info!(bootstrap = %self.text, %peer, "bootstrap node reached");
            self.learnt = Some(peer);
        }
        self.attempt.take().map(|attempt| attempt.won(id)).unwrap_or_default()
    }

    /// Notes that the peer was admitted, so its address works.
    pub fn admitted(&mut self, peer: &PeerId, wait: Duration, now: Instant) {
        if self.learnt.as_ref() == Some(peer) {
            self.backoff.reset(wait, jitter(), now);
            self.logged = None;
        }
    }

    /// Puts off the next dial of a peer that refused this node, or that was refused, to the time `at`.
    pub fn not_before(&mut self, peer: &PeerId, at: Instant) {
        if self.learnt.as_ref() == Some(peer) {
            self.backoff.not_before(at);
        }
    }

    /// Ends an [`Attempt`] all of whose dials have failed, and logs the failure once for each length of the wait.
    fn end_if_lost(&mut self, min: Duration, max: Duration, now: Instant) {
        let Some(why) = self.attempt.as_ref().and_then(Attempt::lost) else {
            return;
        };
        let why = why.to_owned();
        self.attempt = None;
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

impl Actor {
    /// Due work: dials bootstrap addresses while peers are missing, and the next address of each attempt under way.
    pub(super) fn tick_seeds(&mut self, missing: bool, now: Instant) {
        for at in 0..self.discovery.seeds.len() {
            if missing && self.is_seed_due(at, now) {
                self.begin_seed(at, now);
            }
            self.pursue_seed(at, now);
        }
    }

    fn is_seed_due(&self, at: usize, now: Instant) -> bool {
        let seed = &self.discovery.seeds[at];
        let busy = |id: PeerId| {
            let taken =
                |p: &super::peer_table::Peer| p.link != Link::Idle || !p.connections.is_empty() || !p.backoff.due(now);
            self.peers.ban_of(&id).is_some() || self.peers.get(&id).is_some_and(taken)
        };
        !seed.own && seed.attempt.is_none() && seed.backoff.due(now) && !seed.learnt.is_some_and(busy)
    }

    fn begin_seed(&mut self, at: usize, now: Instant) {
        let seed = &mut self.discovery.seeds[at];
        let addresses = seed.target.addresses.clone();
        let Some(peer) = seed.learnt else {
            seed.attempt = Some(Attempt::new(addresses, now));
            return;
        };
        let options = known_peer(peer, addresses);
        let id = options.connection_id();
        seed.attempt = Some(Attempt::under_way(id, now));
        if let Err(error) = self.swarm.dial(options) {
            self.on_dial_error(id, None, &error, now);
        }
    }

    fn pursue_seed(&mut self, at: usize, now: Instant) {
        let (min, max) = (self.config.timings.dial_wait_min, self.config.timings.dial_wait_max);
        let seed = &mut self.discovery.seeds[at];
        if let Some(attempt) = &mut seed.attempt {
            attempt.pursue(now, |address| dial::unknown_peer(&mut self.swarm, address));
        }
        seed.end_if_lost(min, max, now);
    }

    /// Handles a failed dial, which may be one of a bootstrap address.
    pub(super) fn on_seed_dial_error(&mut self, id: ConnectionId, error: &DialError, now: Instant) {
        let Some(at) = self.discovery.seeds.iter().position(|seed| seed.owns(id)) else {
            return;
        };
        let seed = &mut self.discovery.seeds[at];
        match error {
            DialError::DialPeerConditionFalse(_) => seed.attempt = None,
            DialError::LocalPeerId { address } if address::is_one_of(address, &self.listening) => {
                tracing::info!(bootstrap = %seed.text, "this bootstrap address is this very node: not dialled");
                seed.attempt = None;
                seed.own = true;
            }
            _ => {
                if matches!(error, DialError::WrongPeerId { .. }) && seed.target.peer.is_none() {
                    // Another peer answers there now, so the seed must learn the peer's id again.
                    seed.learnt = None;
                }
                if let Some(attempt) = &mut seed.attempt {
                    attempt.failed(id, words(error));
                }
                self.pursue_seed(at, now);
            }
        }
    }
}
