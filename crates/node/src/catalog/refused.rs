//! Records that came by comparison and were not kept: without a memory of them every comparison would bring them again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use qres_fed::round::RecordId;

/// The time for which a refused record is remembered: it may become welcome, for example when the head moves to another branch.
/// Heads agree that much later in the worst case; a record that another one names is asked for at once.
const REMEMBERED: Duration = Duration::from_mins(5);
/// The most records remembered for one model, 41 bytes each; further ones come again with the next comparison.
const REFUSED_MAX: usize = 16_384;

/// The refused records of one model, each with the time of its refusal.
#[derive(Debug, Default)]
pub struct Refused(BTreeMap<RecordId, Instant>);

impl Refused {
    /// Adds records that came and were not kept.
    pub fn add(&mut self, ids: impl IntoIterator<Item = RecordId>, now: Instant) {
        self.expire(now);
        for id in ids {
            if self.0.len() < REFUSED_MAX {
                self.0.entry(id).or_insert(now);
            }
        }
        debug_assert!(self.0.len() <= REFUSED_MAX);
    }

    /// Returns the ids of the records that are not asked for now.
    pub fn ids(&mut self, now: Instant) -> BTreeSet<RecordId> {
        self.expire(now);
        self.0.keys().copied().collect()
    }

    /// Forgets all refused records, as one of them may be a record that is missing now.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|_, at| now.saturating_duration_since(*at) < REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::SealId;
    use qres_wire::clock;

    use super::*;

    #[test]
    fn a_refused_record_is_asked_for_again_after_a_while_or_when_something_is_missing() {
        let (mut refused, now) = (Refused::default(), clock::now());
        let id = RecordId::Seal(SealId([1; 32]));
        refused.add([id], now);
        refused.add([id], now + REMEMBERED / 2);
        assert_eq!(refused.ids(now + REMEMBERED / 2), BTreeSet::from([id]));
        assert_eq!(refused.ids(now + REMEMBERED), BTreeSet::new());
        refused.add([id], now);
        refused.clear();
        assert_eq!(refused.ids(now), BTreeSet::new());
    }

    #[test]
    fn no_more_than_a_fixed_number_are_remembered() {
        let (mut refused, now) = (Refused::default(), clock::now());
        let id = |n: usize| RecordId::Seal(SealId(*blake3::hash(&n.to_le_bytes()).as_bytes()));
        refused.add((0..REFUSED_MAX + 9).map(id), now);
        assert_eq!(refused.ids(now).len(), REFUSED_MAX);
    }
}
