//! States whose tensors are on their way.

use std::collections::BTreeMap;

use qres_fed::id::{BlobId, SpecId};
use qres_fed::record::{Signed, StateRecord};

use super::key::{Key, key};

/// The most states whose tensors are on their way; above it the oldest is given up, so that no state blocks the others for
/// ever.
const PENDING_MAX: usize = 1024;

/// The states whose tensors are on their way: the newest of each [`Key`], with a number that ascends with the time it was
/// taken.
#[derive(Default)]
pub struct PendingStates {
    /// The states, each with its number.
    pub states: BTreeMap<Key, (u64, Signed<StateRecord>)>,
    count: u64,
}

impl PendingStates {
    /// Takes a state, and returns those given up for it; `Err` when it is no newer than the pending one.
    pub fn take(&mut self, signed: Signed<StateRecord>) -> Result<Vec<StateRecord>, ()> {
        let key = key(&signed.record);
        let mut gone = vec![];
        if let Some((_, earlier)) = self.states.get(&key) {
            if earlier.record.sequence >= signed.record.sequence {
                return Err(());
            }
            gone.extend(self.states.remove(&key).map(|(_, old)| old.record));
        }
        while self.states.len() >= PENDING_MAX {
            let oldest = self.states.iter().min_by_key(|(_, (number, _))| *number);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            gone.extend(self.states.remove(&oldest).map(|(_, old)| old.record));
        }
        self.count += 1;
        self.states.insert(key, (self.count, signed));
        debug_assert!(self.states.len() <= PENDING_MAX);
        gone.retain(|record| !self.names(record.spec, &record.blob));
        Ok(gone)
    }

    /// Returns true if a pending state of this model has these tensors.
    pub fn names(&self, spec: SpecId, blob: &BlobId) -> bool {
        self.states.values().any(|(_, signed)| has(&signed.record, spec, blob))
    }

    /// Takes out every state of this model with these tensors: two may have the same.
    pub fn arrived(&mut self, spec: SpecId, blob: &BlobId) -> Vec<Signed<StateRecord>> {
        let here = self
            .states
            .extract_if(.., |_, (_, signed)| has(&signed.record, spec, blob));
        here.map(|(_, (_, signed))| signed).collect()
    }

    /// Takes out the states of a model.
    pub fn leave(&mut self, spec: SpecId) -> Vec<StateRecord> {
        let left = self.states.extract_if(.., |(s, ..), _| *s == spec);
        left.map(|(_, (_, signed))| signed.record).collect()
    }
}

fn has(record: &StateRecord, spec: SpecId, blob: &BlobId) -> bool {
    record.spec == spec && record.blob == *blob
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::tests::{node, record, signed};

    #[test]
    fn two_states_with_the_same_tensors_are_both_kept_and_a_newer_one_replaces_an_older() {
        let mut pending = PendingStates::default();
        let one = record(node(1), "a", 1, 10);
        let twin = StateRecord {
            publisher: node(2),
            ..one.clone()
        };
        assert_eq!(pending.take(signed(one.clone())), Ok(vec![]));
        assert_eq!(pending.take(signed(twin)), Ok(vec![]));
        assert_eq!(pending.take(signed(one.clone())), Err(()), "no news");
        // The other one still needs the tensors, so nothing is given up.
        assert_eq!(pending.take(signed(record(node(1), "a", 2, 10))), Ok(vec![]));
        assert_eq!(pending.arrived(one.spec, &one.blob).len(), 1);
        let newer = record(node(1), "a", 3, 10);
        assert_eq!(pending.take(signed(newer)).unwrap()[0].sequence, 2);
    }

    #[test]
    fn states_that_never_come_do_not_keep_others_out() {
        let mut pending = PendingStates::default();
        for n in 0..PENDING_MAX as u64 {
            pending.take(signed(record(node(1), &n.to_string(), n, 10))).unwrap();
        }
        let given_up = pending.take(signed(record(node(2), "new", 1, 10))).unwrap();
        assert_eq!(given_up.iter().map(|old| old.sequence).collect::<Vec<_>>(), [0]);
        assert_eq!(pending.states.len(), PENDING_MAX);
    }
}
