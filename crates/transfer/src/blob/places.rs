//! Upload places: a peer that holds a place pays for it with bytes, and loses it if it does not pay and another peer
//! waits.
//!
//! Each peer has an account of time. A place costs its peer the time for which the peer holds it; [`LEAST_RATE`] bytes
//! sent to the peer earn a second. An account starts with [`GRACE`], which is also the most that it holds. A peer whose
//! account is empty is slow. The account belongs to the peer, not to the place: a peer that asks again, or over another
//! stream, gets no new grace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use qres_fed::id::NodeId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fault::TransferError;

/// Rate in bytes a second at which a peer keeps its place. 16 places at this rate are 8 Mbit/s.
const LEAST_RATE: u64 = 64 * 1024;
/// Longest time that a peer with a full account may hold one place without a byte. An honest peer asks for segments a
/// round trip and a hash after its `Get`, and the first 256 KiB of an answer go into the muxer's window at once.
const GRACE: Duration = Duration::from_secs(5);
/// Deepest debt of an account: a slow peer that was served for long, while no other peer waited, is not sent away for
/// ever.
const DEBT_MAX: Duration = Duration::from_secs(60);
/// Seconds without a place that make good one second of debt: a peer that holds a place for five seconds in 25 pays
/// nothing.
const RECOVERY: u32 = 4;
/// Accounts that are remembered: those of peers with places (at most 16) and of peers that recover. The fullest account
/// of a peer without a place makes room.
const ACCOUNTS_MAX: usize = 1024;

/// The upload places of this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Places {
    in_all: usize,
    per_peer: usize,
    /// Places that strangers, peers on no member list of a joined model, may hold together: the rest is kept for members.
    of_strangers: usize,
    ledger: Arc<Mutex<Ledger>>,
}

#[derive(Default)]
struct Ledger {
    numbers: u64,
    held: BTreeMap<u64, Held>,
    accounts: BTreeMap<NodeId, Account>,
}

struct Held {
    peer: NodeId,
    member: bool,
    since: Instant,
    sent: Arc<AtomicU64>,
    /// Bytes of `sent` that the account already contains.
    counted: u64,
    revoked: CancellationToken,
}

#[derive(Clone, Copy)]
struct Account {
    /// Time for one place, in nanoseconds; a value below zero is a debt.
    credit: i64,
    at: Instant,
}

/// An upload place that a peer holds; dropping it makes room.
pub(crate) struct Place {
    number: u64,
    sent: Arc<AtomicU64>,
    revoked: CancellationToken,
    ledger: Arc<Mutex<Ledger>>,
}

impl Places {
    /// Makes `in_all` places, with at most `per_peer` for one peer; a quarter of them is kept for members.
    pub(crate) fn new(in_all: usize, per_peer: usize) -> Self {
        Self {
            in_all,
            per_peer,
            of_strangers: in_all - in_all / 4,
            ledger: Arc::default(),
        }
    }

    /// Takes a [`Place`] for this peer: a free one, else that of a slow peer, else (for a member) that of a stranger. No
    /// peer loses its place while the newcomer finds a free one. A slow peer takes no other peer's place, and takes a
    /// free one only if a quarter of all places stays free.
    pub(crate) fn take(&self, peer: NodeId, member: bool) -> Option<Place> {
        let now = Instant::now();
        let mut ledger = lock(&self.ledger);
        ledger.settle(now);
        if ledger.places_of(&peer) >= self.per_peer {
            return None;
        }
        let slow = ledger.is_slow(&peer);
        let spare = if slow { self.in_all / 4 } else { 0 };
        let strangers = ledger.held.values().filter(|held| !held.member).count();
        let full = ledger.held.len() + spare >= self.in_all;
        let share_full = !member && strangers + spare >= self.of_strangers;
        if full || share_full {
            if slow {
                return None;
            }
            let number = ledger.gives_way(member, share_full, now)?;
            if let Some(held) = ledger.held.remove(&number) {
                held.revoked.cancel();
            }
        }
        let (number, sent, revoked) = ledger.insert(peer, member, now);
        Some(Place {
            number,
            sent,
            revoked,
            ledger: self.ledger.clone(),
        })
    }
}

impl Place {
    /// Returns the counter of the bytes that are sent to the peer.
    pub(crate) fn sent(&self) -> Arc<AtomicU64> {
        self.sent.clone()
    }

    /// Returns the token that is cancelled once the place goes to another peer.
    pub(crate) fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut ledger = lock(&self.ledger);
        ledger.settle(Instant::now());
        ledger.held.remove(&self.number);
    }
}

/// Runs `work` as long as the place is held; ends with [`TransferError::Revoked`] when the place goes to another peer.
pub(crate) async fn while_held<T>(
    revoked: &CancellationToken,
    work: impl Future<Output = Result<T, TransferError>>,
) -> Result<T, TransferError> {
    let done = revoked.run_until_cancelled(work).await;
    done.unwrap_or(Err(TransferError::Revoked))
}

impl Ledger {
    /// Brings all accounts up to `now`, and forgets the full ones of peers without a place.
    fn settle(&mut self, now: Instant) {
        let mut earned: BTreeMap<NodeId, (i64, u64)> = BTreeMap::new();
        for held in self.held.values_mut() {
            let sent = held.sent.load(Ordering::Relaxed);
            let (places, bytes) = earned.entry(held.peer).or_default();
            *places += 1;
            *bytes += sent - held.counted;
            held.counted = sent;
        }
        for (peer, account) in &mut self.accounts {
            let elapsed = nanos(now.saturating_duration_since(account.at));
            account.at = now;
            let change = match earned.get(peer) {
                Some((places, bytes)) => {
                    let paid = u128::from(*bytes) * 1_000_000_000 / u128::from(LEAST_RATE);
                    let paid = i64::try_from(paid).unwrap_or(i64::MAX);
                    paid.saturating_sub(elapsed.saturating_mul(*places))
                }
                None => elapsed / i64::from(RECOVERY),
            };
            account.credit = account
                .credit
                .saturating_add(change)
                .clamp(-nanos(DEBT_MAX), nanos(GRACE));
        }
        self.accounts
            .retain(|peer, account| earned.contains_key(peer) || account.credit < nanos(GRACE));
    }

    fn places_of(&self, peer: &NodeId) -> usize {
        self.held.values().filter(|held| held.peer == *peer).count()
    }

    fn credit(&self, peer: &NodeId) -> i64 {
        self.accounts.get(peer).map_or(nanos(GRACE), |account| account.credit)
    }

    fn is_slow(&self, peer: &NodeId) -> bool {
        self.credit(peer) <= 0
    }

    /// Returns the place that a newcomer gets: a stranger's before a member's, then that of the emptiest account, then
    /// the slowest. Slow peers give way, and for a member also a stranger that has had its place for [`GRACE`].
    fn gives_way(&self, for_member: bool, strangers_only: bool, now: Instant) -> Option<u64> {
        let may_go = |held: &&Held| {
            let old = now.saturating_duration_since(held.since) >= GRACE;
            let before_members = for_member && !held.member && old;
            (self.is_slow(&held.peer) || before_members) && !(strangers_only && held.member)
        };
        let candidates = self.held.iter().filter(|(_, held)| may_go(held));
        let order = |(_, held): &(&u64, &Held)| (held.member, self.credit(&held.peer), held.rate(now));
        candidates.min_by_key(order).map(|(number, _)| *number)
    }

    fn insert(&mut self, peer: NodeId, member: bool, now: Instant) -> (u64, Arc<AtomicU64>, CancellationToken) {
        let credit = self.credit(&peer);
        self.accounts.entry(peer).or_insert(Account { credit, at: now });
        while self.accounts.len() > ACCOUNTS_MAX {
            let resting = self
                .accounts
                .iter()
                .filter(|(other, _)| **other != peer && self.places_of(other) == 0);
            let Some(fullest) = resting
                .max_by_key(|(_, account)| account.credit)
                .map(|(other, _)| *other)
            else {
                break;
            };
            self.accounts.remove(&fullest);
        }
        let number = self.numbers;
        self.numbers += 1;
        let (sent, revoked) = (Arc::<AtomicU64>::default(), CancellationToken::new());
        let held = Held {
            peer,
            member,
            since: now,
            sent: sent.clone(),
            counted: 0,
            revoked: revoked.clone(),
        };
        self.held.insert(number, held);
        (number, sent, revoked)
    }
}

impl Held {
    /// Returns the bytes a second that were sent since the place was taken.
    fn rate(&self, now: Instant) -> u128 {
        let age = now.saturating_duration_since(self.since).as_millis();
        u128::from(self.counted) * 1000 / (age + 1)
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock()
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
