//! Bootstrap addresses (seeds), at which this node looks for its first peers.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

use super::address::Target;
use super::attempt::Attempt;
use super::backoff::{Backoff, jitter};

/// Failed attempts in a row from which on the log tells of one place of a name. Such a place may be younger than its program.
const FAILURES_QUIET: u32 = 2;

/// A bootstrap address, with the state of its dials.
pub struct Seed {
    /// The address as the operator wrote it.
    pub(super) text: String,
    /// The place that the address names.
    pub(super) target: Target,
    /// The peer that answered there. Once it is known, it is dialled by its id, since a dial by the address alone would make
    /// a second connection.
    pub(super) learnt: Option<PeerId>,
    /// The wait before the next attempt.
    pub(super) backoff: Backoff,
    /// The attempt under way, if there is one.
    pub(super) attempt: Option<Attempt>,
    /// The reason of the last failed attempt; `None` once a peer was reached.
    pub(super) why: Option<String>,
    /// The wait that was logged last: each length of the wait is logged once.
    logged: Option<Duration>,
    /// True if the address leads back to this node.
    pub(super) own: bool,
    /// The index of the bootstrap name that has this address; `None` if the operator wrote the address itself.
    pub(super) name: Option<usize>,
}

impl Seed {
    /// Makes a seed whose first dial is due at once.
    pub fn new(text: String, target: Target, name: Option<usize>, now: Instant) -> Self {
        Self {
            text,
            learnt: target.peer,
            target,
            backoff: Backoff::new(now),
            attempt: None,
            why: None,
            logged: None,
            own: false,
            name,
        }
    }

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
        self.why = None;
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

    /// Ends an [`Attempt`] all of whose dials have failed, and logs the failure once for each length of the wait. `quiet`: other
    /// places of the same name answer, so this one needs no operator.
    pub(super) fn end_if_lost(&mut self, min: Duration, max: Duration, quiet: bool, now: Instant) {
        let Some(why) = self.attempt.as_ref().and_then(Attempt::lost) else {
            return;
        };
        let why = why.to_owned();
        self.attempt = None;
        self.why = Some(why.clone());
        let wait = self.backoff.fail(min, max, jitter(), now);
        let young = self.name.is_some() && self.backoff.failures() <= FAILURES_QUIET;
        if quiet || young {
            tracing::debug!(bootstrap = %self.text, "bootstrap node {} cannot be reached ({why})", self.text);
        } else if self.logged != Some(wait) {
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
