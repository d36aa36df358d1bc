//! Schedule of the downloads, without I/O and without a clock: decides which peer is asked for which blob, and when.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use qres_fed::id::{BlobId, NodeId, SpecId};

use super::crowd::{Crowd, Session};
use super::key::Key;
use super::limits::{SESSIONS_MAX, SESSIONS_PER_BLOB_MAX, SESSIONS_PER_HOLDER_MAX, SLOW_AFTER};
use super::request::DownloadRequest;
use super::session::{Goal, Got};

/// Looks into the store under way at once.
const LOOKS_MAX: usize = 8;
/// Missing segments (32 MiB) from which on a blob is split over several holders: with fewer, one holder fills the link
/// before another has begun.
const SPLIT_SEGMENTS_MIN: usize = 32;
/// First wait after a failure; each further failure doubles it.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest wait after failures.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Broken sessions in a row after which a holder is penalized.
pub(crate) const FAILURES_MAX: u32 = 5;
/// Number of times that a holder may deny a blob that it announced itself; then it is penalized. An honest holder has the
/// blob before it announces it.
pub(crate) const DENIALS_MAX: u32 = 3;
/// Holders that are remembered for one blob; the newest ones are kept.
const HOLDERS_MAX: usize = 64;
/// Peers whose [`HolderHealth`] is remembered for one blob: more than can be connected.
const STANDINGS_MAX: usize = 1024;

/// A step that the manager is to take.
#[derive(Debug)]
pub(crate) enum Step {
    /// Look whether the blob is in the store.
    Look(Key),
    /// Fetch the blob from this holder.
    Fetch(Key, NodeId, Goal),
}

/// Result of a session, for the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session ended without an error.
    Got(Got),
    /// The holder sent bytes that are not the blob's: it is not asked for this blob again.
    Forged,
    /// The session broke off, perhaps after a part of the blob had arrived.
    Broken {
        /// True if a part of the blob arrived.
        progress: bool,
    },
    /// The holder could not be asked, or has a blob of another length, or this node gave the session up.
    Gone,
    /// The store of this node failed.
    Store,
}

/// Answer of the schedule to an [`Outcome`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing to report: the schedule goes on.
    On,
    /// The blob is here, and was still wanted.
    Here,
    /// The holder has failed too often and is to be penalized.
    Exhausted,
}

/// The schedule: all wants, and the sessions under way for them.
#[derive(Default)]
pub(crate) struct DownloadScheduler {
    wants: BTreeMap<u64, Entry>,
    /// Number of the want of each model and blob. Each model wants a blob for itself: a copy that one model has is not
    /// for another to use.
    numbers: BTreeMap<(SpecId, BlobId), u64>,
    next_number: u64,
    /// Wants for which no look into the store has been started.
    new: VecDeque<u64>,
    looking: usize,
    sessions: BTreeMap<NodeId, usize>,
    crowd: Crowd,
    /// Holders that have no room now, and the time until which they are not asked.
    busy: BTreeMap<NodeId, Instant>,
}

struct Entry {
    want: DownloadRequest,
    /// True once a look has not found the blob in the store.
    looked: bool,
    /// The peers that are being asked, and since when.
    asking: BTreeMap<NodeId, Instant>,
    health: BTreeMap<NodeId, HolderHealth>,
    /// Failures of this node's store: the blob is not fetched before the wait after a failure is over.
    store: HolderHealth,
}

/// History of one holder with one blob.
#[derive(Debug, Clone, Copy, Default)]
struct HolderHealth {
    failures: u32,
    /// Sessions in a row that broke off; a session that brought something starts the count anew.
    broken: u32,
    /// Times that the holder denied a blob that it must have ([`DownloadRequest::owed_by`]).
    owing: u32,
    not_before: Option<Instant>,
    never: bool,
}

impl HolderHealth {
    fn failed(&mut self, now: Instant) {
        let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + doubled.min(BACKOFF_MAX));
    }

    fn worked(&mut self) {
        self.failures = 0;
        self.broken = 0;
    }

    fn ready(&self, now: Instant) -> bool {
        !self.never && self.not_before.is_none_or(|at| at <= now)
    }
}

impl DownloadScheduler {
    /// Adds a [`DownloadRequest`]. A second want of the same model and blob adds its holders, and ends their waits after failures.
    pub(crate) fn want(&mut self, want: DownloadRequest) {
        let name = (want.spec, want.blob);
        if let Some(entry) = self.numbers.get(&name).and_then(|n| self.wants.get_mut(n)) {
            entry.merge(want);
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(name, number);
        self.new.push_back(number);
        self.wants.insert(number, Entry::new(want));
    }

    /// Removes the [`DownloadRequest`] of this blob for this model.
    pub(crate) fn cancel(&mut self, spec: SpecId, blob: BlobId) {
        if let Some(number) = self.numbers.remove(&(spec, blob)) {
            self.wants.remove(&number);
        }
    }

    /// Returns true if the want still stands.
    pub(crate) fn wanted(&self, key: Key) -> bool {
        self.wants.contains_key(&key.number)
    }

    /// Ends all waits of this peer, so that it may be asked again at once.
    pub(crate) fn nudge(&mut self, peer: &NodeId) {
        self.busy.remove(peer);
        for entry in self.wants.values_mut() {
            if let Some(health) = entry.health.get_mut(peer) {
                health.not_before = None;
            }
        }
    }

    /// Returns the next [`Step`], if one can be taken now. `missing` returns how many segments of a blob under way are
    /// missing.
    pub(crate) fn next(&mut self, connected: &[NodeId], now: Instant, missing: impl Fn(Key) -> usize) -> Option<Step> {
        while self.looking < LOOKS_MAX
            && let Some(number) = self.new.pop_front()
        {
            if let Some(entry) = self.wants.get(&number) {
                self.looking += 1;
                return Some(Step::Look(entry.key(number)));
            }
        }
        self.busy.retain(|_, until| *until > now);
        if self.full() {
            return None;
        }
        let mut keys = self.wants.iter().map(|(number, entry)| entry.key(*number));
        let asks = |key: Key| Some((key, self.holder(key, connected, now, &missing, SESSIONS_PER_BLOB_MAX)?));
        let (key, peer) = keys.find_map(asks)?;
        let entry = self.wants.get_mut(&key.number)?;
        entry.asking.insert(peer, now);
        *self.sessions.entry(peer).or_default() += 1;
        self.crowd.started((key, peer), now);
        Some(Step::Fetch(key, peer, entry.goal(&peer)))
    }

    fn full(&self) -> bool {
        self.sessions.values().sum::<usize>() >= SESSIONS_MAX
    }

    /// Returns the peer to ask for this blob now, if there is one. `per_blob` is the number of sessions that the blob may
    /// have; the limit [`SESSIONS_MAX`] is not checked here.
    fn holder(
        &self,
        key: Key,
        connected: &[NodeId],
        now: Instant,
        missing: impl Fn(Key) -> usize,
        per_blob: usize,
    ) -> Option<NodeId> {
        let entry = self.wants.get(&key.number)?;
        let free = |peer: &NodeId| {
            let under_way = self.sessions.get(peer).copied().unwrap_or(0);
            under_way < SESSIONS_PER_HOLDER_MAX && self.busy.get(peer).is_none_or(|until| *until <= now)
        };
        if entry.asking.len() >= per_blob {
            return None;
        }
        entry.holder(connected, now, free, || missing(key))
    }

    /// Takes in the result of a look into the store (`here` is true if the blob is there). Returns true if the blob is
    /// there and still wanted.
    pub(crate) fn looked(&mut self, key: Key, here: bool) -> bool {
        self.looking = self.looking.saturating_sub(1);
        if here {
            return self.arrived(key);
        }
        if let Some(entry) = self.wants.get_mut(&key.number) {
            entry.looked = true;
        }
        false
    }

    /// Takes in the [`Outcome`] of a session that is over.
    pub(crate) fn ended(&mut self, key: Key, peer: NodeId, outcome: Outcome, now: Instant) -> Then {
        self.crowd.ended((key, peer));
        if let Some(under_way) = self.sessions.get_mut(&peer) {
            *under_way = under_way.saturating_sub(1);
            if *under_way == 0 {
                self.sessions.remove(&peer);
            }
        }
        if outcome == Outcome::Got(Got::Here) {
            return if self.arrived(key) { Then::Here } else { Then::On };
        }
        if let Outcome::Got(Got::Busy(retry)) = outcome {
            self.busy.insert(peer, now + retry.max(BACKOFF_MIN / 5));
        }
        let Some(entry) = self.wants.get_mut(&key.number) else {
            return Then::On;
        };
        entry.asking.remove(&peer);
        entry.ended(peer, outcome, now)
    }

    /// Returns the session that is to end, because it is slow and a holder waits to be asked: a session of any blob when
    /// there is no session left, a session of the same blob when that blob has as many as it may have. `received` returns
    /// the bytes that came over a session.
    pub(crate) fn makes_room(
        &mut self,
        connected: &[NodeId],
        now: Instant,
        missing: impl Fn(Key) -> usize,
        received: impl Fn(Session) -> u64,
    ) -> Option<Session> {
        if self.crowd.leaving.is_some() {
            return None;
        }
        let keys: Vec<Key> = self.wants.iter().map(|(n, entry)| entry.key(*n)).collect();
        let waits =
            |scheduler: &Self, key, per_blob| scheduler.holder(key, connected, now, &missing, per_blob).is_some();
        let asked =
            |scheduler: &Self, key: &Key| scheduler.wants.get(&key.number).map_or(0, |entry| entry.asking.len());
        let mut leaving = None;
        if self.full() && keys.iter().any(|key| waits(self, *key, SESSIONS_PER_BLOB_MAX)) {
            leaving = self.crowd.youngest_slow(now, &received, None);
        }
        for key in keys {
            let crowded = asked(self, &key) >= SESSIONS_PER_BLOB_MAX && waits(self, key, SESSIONS_PER_BLOB_MAX + 1);
            if leaving.is_none() && crowded {
                leaving = self.crowd.youngest_slow(now, &received, Some(key));
            }
        }
        self.crowd.leaving = leaving;
        leaving
    }

    /// Returns the time at which the next wait ends, if there is a wait.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        let waits = self.wants.values().flat_map(|entry| {
            let health = entry.health.values().chain(std::iter::once(&entry.store));
            health.filter(|s| !s.never).filter_map(|s| s.not_before)
        });
        let slow = self
            .wants
            .values()
            .filter_map(|entry| Some(*entry.asking.values().max()? + SLOW_AFTER));
        waits
            .chain(self.busy.values().copied())
            .chain(slow)
            .chain(self.crowd.ends())
            .filter(|at| *at > now)
            .min()
    }

    /// Returns true if there is a want for which no peer is being asked.
    pub(crate) fn waiting(&self) -> bool {
        self.wants.values().any(|entry| entry.asking.is_empty())
    }

    /// Removes the want of a blob that is here; returns true if the want still stood.
    fn arrived(&mut self, key: Key) -> bool {
        if self.wants.remove(&key.number).is_none() {
            return false;
        }
        self.numbers.remove(&(key.spec, key.blob));
        true
    }
}

impl Entry {
    fn new(mut want: DownloadRequest) -> Self {
        let holders = std::mem::take(&mut want.holders);
        let mut entry = Self {
            want,
            looked: false,
            asking: BTreeMap::new(),
            health: BTreeMap::new(),
            store: HolderHealth::default(),
        };
        entry.add_holders(holders);
        entry
    }

    fn key(&self, number: u64) -> Key {
        Key {
            number,
            spec: self.want.spec,
            blob: self.want.blob,
        }
    }

    fn merge(&mut self, more: DownloadRequest) {
        let own = &mut self.want;
        own.owed_by = own.owed_by.or(more.owed_by);
        if own.bytes != more.bytes {
            // Two records name two lengths. One of them lies, and only the digest tells which, so both lengths are
            // accepted.
            let limit = |want: &DownloadRequest| want.bytes.map_or(want.bytes_max, |bytes| bytes.min(want.bytes_max));
            own.bytes_max = limit(own).max(limit(&more));
            own.bytes = None;
        } else {
            own.bytes_max = own.bytes_max.max(more.bytes_max);
        }
        for holder in &more.holders {
            if let Some(health) = self.health.get_mut(holder) {
                health.not_before = None;
            }
        }
        self.add_holders(more.holders);
    }

    fn add_holders(&mut self, more: Vec<NodeId>) {
        for holder in more {
            if !self.want.holders.contains(&holder) {
                self.want.holders.push(holder);
            }
        }
        let excess = self.want.holders.len().saturating_sub(HOLDERS_MAX);
        self.want.holders.drain(..excess);
    }

    /// Returns true if the peers that are being asked are too slow: each of them was asked [`SLOW_AFTER`] ago or earlier.
    fn slow(&self, now: Instant) -> bool {
        self.asking
            .values()
            .max()
            .is_some_and(|since| now >= *since + SLOW_AFTER)
    }

    /// Returns the peer to ask now: a holder, else any connected peer. A further peer beside those being asked is
    /// returned if the blob is large ([`SPLIT_SEGMENTS_MIN`]; then only a holder), or if those being asked are slow.
    fn holder(
        &self,
        connected: &[NodeId],
        now: Instant,
        free: impl Fn(&NodeId) -> bool,
        missing: impl Fn() -> usize,
    ) -> Option<NodeId> {
        if !self.looked || !self.store.ready(now) {
            return None;
        }
        let alone = self.asking.is_empty() || self.slow(now);
        if !alone && missing() < SPLIT_SEGMENTS_MIN {
            return None;
        }
        let ready = |peer: &NodeId| {
            let health = self.health.get(peer).copied().unwrap_or_default();
            health.ready(now) && !self.asking.contains_key(peer) && free(peer)
        };
        let holders = self.want.holders.iter().filter(|peer| connected.contains(peer));
        let others = connected.iter().filter(|_| alone);
        holders.chain(others).find(|peer| ready(peer)).copied()
    }

    /// Makes the [`Goal`] of a session with this peer.
    fn goal(&mut self, peer: &NodeId) -> Goal {
        while self.health.len() >= STANDINGS_MAX {
            self.health.pop_first();
        }
        self.health.entry(*peer).or_default();
        Goal {
            spec: self.want.spec,
            blob: self.want.blob,
            bytes: self.want.bytes,
            bytes_max: self.want.bytes_max,
            traceparent: self.want.traceparent.clone(),
        }
    }

    fn ended(&mut self, peer: NodeId, outcome: Outcome, now: Instant) -> Then {
        let health = self.health.entry(peer).or_default();
        match outcome {
            Outcome::Got(Got::Here | Got::Busy(_)) => {}
            Outcome::Got(Got::Shared) => {
                health.worked();
                health.not_before = Some(now + BACKOFF_MIN);
            }
            Outcome::Got(Got::Absent | Got::Denied) => {
                health.failed(now);
                if self.want.owed_by == Some(peer) {
                    health.owing += 1;
                    if health.owing >= DENIALS_MAX {
                        health.owing = 0;
                        return Then::Exhausted;
                    }
                }
            }
            Outcome::Gone => health.failed(now),
            Outcome::Forged => health.never = true,
            Outcome::Broken { progress } => {
                if progress {
                    health.worked();
                }
                health.failed(now);
                health.broken += 1;
                if health.broken >= FAILURES_MAX {
                    health.broken = 0;
                    return Then::Exhausted;
                }
            }
            Outcome::Store => self.store.failed(now),
        }
        Then::On
    }
}

#[cfg(test)]
mod tests;
