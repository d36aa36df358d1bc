//! Who is asked for which blob, and when: the downloads' schedule, without I/O and clock.

mod crowd;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use qres_fed::id::{BlobId, NodeId, SpecId};

use crowd::Crowd;

use super::Want;
use super::session::{Goal, Got};
use qres_store::Owner;

/// Sessions at once: what this node takes in is bound by its link and disk, not by their number.
pub(crate) const SESSIONS_MAX: usize = 8;
/// Looks into the store at once.
const LOOKS_MAX: usize = 8;
/// Sessions at once with one holder: the next small blob need not wait for a large one.
pub(crate) const SESSIONS_PER_HOLDER_MAX: usize = 2;
/// Sessions at once for one blob.
const SESSIONS_PER_BLOB_MAX: usize = 3;
/// A blob is split over several holders while at least this many segments (32 MiB) are missing: below, one fills the link
/// before another has begun.
const SPLIT_SEGMENTS_MIN: usize = 32;
/// A session that takes longer gets company, whatever the size: a holder that only drips holds nobody up.
const SLOW_AFTER: Duration = Duration::from_secs(5);
/// The first wait after a failure; it doubles with each one more.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// The longest wait after failures.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Broken sessions in a row after which a holder is told on.
pub(crate) const FAILURES_MAX: u32 = 5;
/// Denials of a blob that the holder itself announced before it is blamed; an honest one has it before it announces it.
pub(crate) const DENIALS_MAX: u32 = 3;
/// Holders remembered of one blob; the newest count.
const HOLDERS_MAX: usize = 64;
/// Peers whose standing is remembered of one blob: more than can be connected.
const STANDINGS_MAX: usize = 1024;

/// One step to take.
#[derive(Debug)]
pub(crate) enum Step {
    /// Look whether the blob is in the store.
    Look(Key),
    /// Fetch it from this holder.
    Fetch(Key, NodeId, Goal),
}

/// Names a want; a blob wanted again after it was cancelled has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    number: u64,
    pub(crate) spec: SpecId,
    pub(crate) blob: BlobId,
}

impl Key {
    /// Whose the blob is to be.
    pub(crate) fn owner(&self) -> Owner {
        Owner::of(self.spec, &self.blob)
    }
}

/// What a session came to, for the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ended well.
    Got(Got),
    /// The holder sent what is not the blob's: it is not asked for this blob again.
    Forged,
    /// The session broke off, perhaps after some of the blob.
    Broken {
        /// Some of it came.
        progress: bool,
    },
    /// The holder could not be asked, or has a blob of another length.
    Gone,
    /// This node's store failed.
    Store,
}

/// What the schedule says to an outcome.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Go on.
    On,
    /// The blob is here.
    Here,
    /// The holder has failed too often in a row.
    Exhausted,
}

/// The schedule.
#[derive(Default)]
pub(crate) struct Board {
    wants: BTreeMap<u64, Entry>,
    /// A blob is wanted for each model by itself: what one has is not for another to use.
    numbers: BTreeMap<(SpecId, BlobId), u64>,
    next_number: u64,
    /// Wants that nobody has looked for in the store.
    new: VecDeque<u64>,
    looking: usize,
    sessions: BTreeMap<NodeId, usize>,
    crowd: Crowd,
    /// Holders that have no room now.
    busy: BTreeMap<NodeId, Instant>,
}

struct Entry {
    want: Want,
    /// It is not in the store.
    looked: bool,
    /// Who is being asked, since when.
    asking: BTreeMap<NodeId, Instant>,
    standing: BTreeMap<NodeId, Standing>,
    /// The store failed: not before then.
    store: Standing,
}

/// How a holder has done with one blob.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    failures: u32,
    /// Sessions in a row that broke off and brought nothing.
    broken: u32,
    /// Times it said that it has not got what it owes.
    owing: u32,
    not_before: Option<Instant>,
    never: bool,
}

impl Standing {
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

impl Board {
    /// Wants a blob. A second want adds its holders, who are asked at once.
    pub(crate) fn want(&mut self, want: Want) {
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

    /// No longer wanted.
    pub(crate) fn cancel(&mut self, spec: SpecId, blob: BlobId) {
        if let Some(number) = self.numbers.remove(&(spec, blob)) {
            self.wants.remove(&number);
        }
    }

    /// Whether the want still stands.
    pub(crate) fn wanted(&self, key: Key) -> bool {
        self.wants.contains_key(&key.number)
    }

    /// Forgets the peer's waits.
    pub(crate) fn nudge(&mut self, peer: &NodeId) {
        self.busy.remove(peer);
        for entry in self.wants.values_mut() {
            if let Some(standing) = entry.standing.get_mut(peer) {
                standing.not_before = None;
            }
        }
    }

    /// The next step, if one can be taken now. `missing` tells how many segments of a blob under way are missing.
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

    /// Whom to ask for this blob now, if sessions were for the taking in all, and so many for this blob.
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

    /// The look into the store is over: `true` = it is there. Answers whether it is here and still wanted.
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

    /// A session is over.
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

    /// When a wait ends, if any does.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        let waits = self.wants.values().flat_map(|entry| {
            let standing = entry.standing.values().chain(std::iter::once(&entry.store));
            standing.filter(|s| !s.never).filter_map(|s| s.not_before)
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

    /// Whether a want waits for a peer.
    pub(crate) fn waiting(&self) -> bool {
        self.wants.values().any(|entry| entry.asking.is_empty())
    }

    /// Whether the want still stood.
    fn arrived(&mut self, key: Key) -> bool {
        if self.wants.remove(&key.number).is_none() {
            return false;
        }
        self.numbers.remove(&(key.spec, key.blob));
        true
    }
}

impl Entry {
    fn new(mut want: Want) -> Self {
        let holders = std::mem::take(&mut want.holders);
        let mut entry = Self {
            want,
            looked: false,
            asking: BTreeMap::new(),
            standing: BTreeMap::new(),
            store: Standing::default(),
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

    fn merge(&mut self, more: Want) {
        let own = &mut self.want;
        own.owed_by = own.owed_by.or(more.owed_by);
        if own.bytes != more.bytes {
            // Two records name two lengths: one of them lies, and only the digest tells which. Either is let in.
            let limit = |want: &Want| want.bytes.map_or(want.bytes_max, |bytes| bytes.min(want.bytes_max));
            own.bytes_max = limit(own).max(limit(&more));
            own.bytes = None;
        } else {
            own.bytes_max = own.bytes_max.max(more.bytes_max);
        }
        for holder in &more.holders {
            if let Some(standing) = self.standing.get_mut(holder) {
                standing.not_before = None;
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

    /// Whether those who are being asked are too slow.
    fn slow(&self, now: Instant) -> bool {
        self.asking
            .values()
            .max()
            .is_some_and(|since| now >= *since + SLOW_AFTER)
    }

    /// Whom to ask now: a holder, else anyone connected. More than one for a large blob (then only holders), and when those
    /// who are being asked are slow.
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
            let standing = self.standing.get(peer).copied().unwrap_or_default();
            standing.ready(now) && !self.asking.contains_key(peer) && free(peer)
        };
        let holders = self.want.holders.iter().filter(|peer| connected.contains(peer));
        let others = connected.iter().filter(|_| alone);
        holders.chain(others).find(|peer| ready(peer)).copied()
    }

    /// What the peer is asked for.
    fn goal(&mut self, peer: &NodeId) -> Goal {
        while self.standing.len() >= STANDINGS_MAX {
            self.standing.pop_first();
        }
        self.standing.entry(*peer).or_default();
        Goal {
            spec: self.want.spec,
            blob: self.want.blob,
            bytes: self.want.bytes,
            bytes_max: self.want.bytes_max,
            traceparent: self.want.traceparent.clone(),
        }
    }

    fn ended(&mut self, peer: NodeId, outcome: Outcome, now: Instant) -> Then {
        let standing = self.standing.entry(peer).or_default();
        match outcome {
            Outcome::Got(Got::Here | Got::Busy(_)) => {}
            Outcome::Got(Got::Shared) => {
                standing.worked();
                standing.not_before = Some(now + BACKOFF_MIN);
            }
            Outcome::Got(Got::Absent | Got::Denied) => {
                standing.failed(now);
                if self.want.owed_by == Some(peer) {
                    standing.owing += 1;
                    if standing.owing >= DENIALS_MAX {
                        standing.owing = 0;
                        return Then::Exhausted;
                    }
                }
            }
            Outcome::Gone => standing.failed(now),
            Outcome::Forged => standing.never = true,
            Outcome::Broken { progress } => {
                if progress {
                    standing.worked();
                }
                standing.failed(now);
                standing.broken += 1;
                if standing.broken >= FAILURES_MAX {
                    standing.broken = 0;
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
