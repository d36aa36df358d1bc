//! The states that are kept: the last few of each publisher and name, bounded for each model.

pub mod key;
pub mod pending;

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::{Mutex, MutexGuard};
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Signed, StateRecord};
use qres_store::{Owner, StoredState};
use qres_wire::state_envelope;

use key::{Key, key};
use pending::PendingStates;

/// The most states kept of each publisher and name.
const KEPT_PER_NAME: usize = 4;

/// The most names of one publisher under one model.
pub const NAMES_PER_PUBLISHER: usize = 64;

/// The most bytes of all states of one model: above it, the publisher that has most gives up its oldest.
const MODEL_BYTES_MAX: u64 = 256 << 20;

/// The least bytes that a state counts for, so that many tiny ones are bounded, too: 16,384 a model.
const STATE_BYTES_MIN: u64 = 16 << 10;

struct HeldState {
    signed: Signed<StateRecord>,
}

/// The states that are kept, and those on their way.
#[derive(Default)]
pub struct States {
    kept: Mutex<BTreeMap<Key, BTreeMap<u64, HeldState>>>,
    pending: Mutex<PendingStates>,
}

impl States {
    /// Returns the states whose tensors are on their way.
    pub fn pending(&self) -> MutexGuard<'_, PendingStates> {
        self.pending.lock()
    }

    /// Takes the states from the store, at the start.
    pub fn restore(&self, stored: Vec<StoredState>) {
        for state in stored {
            if let Some((signed, _)) = state_envelope::read(&state.envelope) {
                self.keep(signed);
            }
        }
    }

    /// Returns the newest sequence number that is kept of a publisher and name.
    pub fn newest(&self, key: &Key) -> Option<u64> {
        self.kept
            .lock()
            .get(key)
            .and_then(|by_sequence| by_sequence.keys().next_back().copied())
    }

    /// Returns the number of names that a publisher has under a model.
    pub fn names(&self, spec: SpecId, publisher: NodeId) -> usize {
        self.kept
            .lock()
            .keys()
            .filter(|(s, p, _)| *s == spec && *p == publisher)
            .count()
    }

    /// Keeps a state whose tensors are here.
    pub fn keep(&self, signed: Signed<StateRecord>) {
        let (key, sequence) = (key(&signed.record), signed.record.sequence);
        self.kept
            .lock()
            .entry(key)
            .or_default()
            .insert(sequence, HeldState { signed });
    }

    /// Takes out and returns the states beyond the limits [`KEPT_PER_NAME`] and [`MODEL_BYTES_MAX`].
    pub fn prune(&self, spec: SpecId) -> Vec<StateRecord> {
        let mut kept = self.kept.lock();
        let mut gone = vec![];
        for by_sequence in kept.iter_mut().filter(|((s, ..), _)| *s == spec).map(|(_, v)| v) {
            while by_sequence.len() > KEPT_PER_NAME {
                gone.extend(by_sequence.pop_first().map(|(_, old)| old.signed.record));
            }
        }
        // Not the oldest state of all goes: timestamps are the publishers' own, and one publisher must not push out the others'
        // states.
        while let Some(publisher) = too_large(&kept, spec) {
            let of_publisher = kept.iter_mut().filter(|((s, p, _), _)| (*s, *p) == (spec, publisher));
            let oldest = of_publisher
                .map(|(_, v)| v)
                .min_by_key(|v| v.keys().next().copied().unwrap_or(u64::MAX));
            let Some((_, old)) = oldest.and_then(BTreeMap::pop_first) else {
                break;
            };
            gone.push(old.signed.record);
            kept.retain(|_, by_sequence| !by_sequence.is_empty());
        }
        debug_assert!(are_bounded(&kept, spec), "states beyond their limits");
        gone
    }

    /// Returns the blobs that must stay.
    pub fn live_blobs(&self) -> BTreeSet<(Owner, BlobId)> {
        let kept = self.kept.lock();
        let owned = |record: &StateRecord| (Owner::Model(record.spec), record.blob);
        let mut live: BTreeSet<_> = kept
            .values()
            .flat_map(|v| v.values())
            .map(|state| owned(&state.signed.record))
            .collect();
        live.extend(self.pending().states.values().map(|(_, signed)| owned(&signed.record)));
        live
    }

    /// Returns the newest state of each publisher and name, for a watcher's snapshot.
    pub fn newest_of(&self, spec: SpecId) -> Vec<StateRecord> {
        let kept = self.kept.lock();
        let of_model = kept.iter().filter(|((s, ..), _)| *s == spec);
        of_model
            .filter_map(|(_, v)| v.values().next_back().map(|state| state.signed.record.clone()))
            .collect()
    }

    /// Forgets the states of a model, and returns those whose tensors are on their way.
    pub fn leave(&self, spec: SpecId) -> Vec<StateRecord> {
        self.kept.lock().retain(|(s, ..), _| *s != spec);
        self.pending().leave(spec)
    }
}

/// The invariant of the states of a model: few of each name, and not too many bytes in all.
fn are_bounded(kept: &BTreeMap<Key, BTreeMap<u64, HeldState>>, spec: SpecId) -> bool {
    let mut of_model = kept.iter().filter(|((s, ..), _)| *s == spec);
    of_model.all(|(_, states)| states.len() <= KEPT_PER_NAME) && too_large(kept, spec).is_none()
}

/// Returns the publisher whose states of a model are to give way, if all together are too large.
fn too_large(kept: &BTreeMap<Key, BTreeMap<u64, HeldState>>, spec: SpecId) -> Option<NodeId> {
    let mut by_publisher = BTreeMap::<NodeId, u64>::new();
    for ((s, publisher, _), states) in kept {
        if *s == spec {
            let bytes = states
                .values()
                .map(|state| state.signed.record.bytes.max(STATE_BYTES_MIN));
            *by_publisher.entry(*publisher).or_default() += bytes.sum::<u64>();
        }
    }
    if by_publisher.values().sum::<u64>() <= MODEL_BYTES_MAX {
        return None;
    }
    by_publisher
        .into_iter()
        .max_by_key(|(_, bytes)| *bytes)
        .map(|(publisher, _)| publisher)
}

#[cfg(test)]
mod tests;
