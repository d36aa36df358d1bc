//! Records in buckets of 64 rounds: two nodes compare the digests of these buckets first.

use std::collections::BTreeMap;

use qres_fed::round::RecordId;
use qres_wire::pb::SyncBucket;

use super::held::is_compared;
use super::key;

/// Number of rounds in a bucket.
const ROUNDS: u64 = 64;

/// The records of a model by bucket; in a bucket they ascend by round, then by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Buckets {
    buckets: BTreeMap<u64, Vec<(u64, RecordId)>>,
}

impl Buckets {
    pub(super) fn of(mut ids: Vec<(u64, RecordId)>) -> Self {
        ids.sort_unstable();
        ids.dedup();
        let mut buckets: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (round, id) in ids {
            buckets.entry(Self::index(round)).or_default().push((round, id));
        }
        Self { buckets }
    }

    /// Makes the buckets of the records that a node compares if it has forgotten the rounds up to `above`.
    pub(super) fn above(mut ids: Vec<(u64, RecordId)>, above: u64) -> Self {
        ids.retain(|(round, id)| is_compared(*round, id, above));
        Self::of(ids)
    }

    /// Returns the index of the bucket of a round.
    pub(super) fn index(round: u64) -> u64 {
        round / ROUNDS
    }

    /// Returns the records in a bucket, each with its round.
    pub(super) fn entries(&self, index: u64) -> &[(u64, RecordId)] {
        self.buckets.get(&index).map_or(&[], Vec::as_slice)
    }

    /// Returns true if this record of this round is held.
    pub(super) fn contains(&self, round: u64, id: RecordId) -> bool {
        self.entries(Self::index(round)).binary_search(&(round, id)).is_ok()
    }

    /// Returns count and digest of each bucket that is not empty, ascending by index.
    pub(super) fn digests(&self) -> Vec<SyncBucket> {
        self.buckets.keys().map(|index| self.digest(*index)).collect()
    }

    /// Returns count and digest of a bucket, which may be empty.
    pub(super) fn digest(&self, index: u64) -> SyncBucket {
        let entries = self.entries(index);
        let mut keys: Vec<_> = entries.iter().map(|(_, id)| key::key(id)).collect();
        keys.sort_unstable();
        SyncBucket {
            index,
            count: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            digest: blake3::hash(keys.as_flattened()).as_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{ContributionId, SealId};

    use super::*;

    #[test]
    fn order_does_not_show_and_a_record_more_does() {
        let seal = |n: u8| RecordId::Seal(SealId([n; 32]));
        let a = Buckets::of(vec![(0, seal(9)), (63, seal(1)), (64, seal(2))]);
        let b = Buckets::of(vec![(64, seal(2)), (63, seal(1)), (0, seal(9)), (0, seal(9))]);
        assert_eq!(a.digests(), b.digests());
        assert_eq!(
            a.digests().iter().map(|d| (d.index, d.count)).collect::<Vec<_>>(),
            [(0, 2), (1, 1)]
        );
        // The digest as docs/protocol.md defines it, computed from the bytes written out.
        let mut plain = vec![2; 1];
        plain.extend([1; 32]);
        plain.push(2);
        plain.extend([9; 32]);
        assert_eq!(a.digest(0).digest, blake3::hash(&plain).as_bytes());
        let same_bytes = RecordId::Contribution(ContributionId([2; 32]));
        assert_ne!(a.digest(1), Buckets::of(vec![(64, same_bytes)]).digest(1));
        assert!(a.contains(63, seal(1)) && !a.contains(62, seal(1)) && !a.contains(64, same_bytes));
    }
}
