//! The purposes for which blobs are fetched: a download that is given up for one of them goes on for the others.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use qres_fed::id::{BlobId, SpecId};

/// The purpose for which a blob is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A round needs an update or weights.
    Round,
    /// A published state needs its tensors.
    State,
    /// An announced model needs its spec.
    Offer,
    /// A joined model needs its frozen and personal tensors.
    Fixed,
}

/// The purposes for which each blob of a model is wanted.
type Purposes = BTreeMap<(SpecId, BlobId), BTreeSet<Purpose>>;

/// The blobs that are wanted. Bounded by what names them: records, states on their way, offers.
#[derive(Default)]
pub struct BlobDemand(Mutex<Purposes>);

impl BlobDemand {
    /// Notes a want, then asks for the download, so that no other caller cancels it in between.
    pub fn want(&self, blob: BlobId, spec: SpecId, purpose: Purpose, ask: impl FnOnce()) {
        let mut blob_demand = self.0.lock();
        blob_demand.entry((spec, blob)).or_default().insert(purpose);
        ask();
    }

    /// Removes a [`Purpose`] of a blob; cancels the download when no other purpose is left.
    pub fn forget(&self, blob: &BlobId, spec: SpecId, purpose: Purpose, cancel: impl FnOnce()) {
        let mut blob_demand = self.0.lock();
        if remove(&mut blob_demand, (spec, *blob), purpose) {
            cancel();
        }
        debug_assert!(
            blob_demand.values().all(|purposes| !purposes.is_empty()),
            "a blob without a purpose"
        );
    }

    /// Takes out one purpose of a blob that has come on another way; returns true if the blob was wanted for it. The others stay.
    pub fn take(&self, blob: &BlobId, spec: SpecId, purpose: Purpose) -> bool {
        let mut blob_demand = self.0.lock();
        let wanted = blob_demand
            .get(&(spec, *blob))
            .is_some_and(|purposes| purposes.contains(&purpose));
        if wanted {
            remove(&mut blob_demand, (spec, *blob), purpose);
        }
        wanted
    }

    /// Takes out a blob that has come for this model, and returns the purposes for which it was wanted.
    pub fn arrived(&self, blob: &BlobId, spec: SpecId) -> BTreeSet<Purpose> {
        self.0.lock().remove(&(spec, *blob)).unwrap_or_default()
    }
}

/// Removes a purpose; returns true if no other one is left.
fn remove(blob_demand: &mut Purposes, blob: (SpecId, BlobId), purpose: Purpose) -> bool {
    let Some(purposes) = blob_demand.get_mut(&blob) else {
        return true;
    };
    purposes.remove(&purpose);
    if purposes.is_empty() {
        blob_demand.remove(&blob);
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_s_download_is_cancelled_when_nothing_wants_it_any_more() {
        let (blob, one, other) = (BlobId([1; 32]), SpecId([2; 32]), SpecId([3; 32]));
        let blob_demand = BlobDemand::default();
        let cancelled = |spec, purpose| {
            let mut cancelled = false;
            blob_demand.forget(&blob, spec, purpose, || cancelled = true);
            cancelled
        };
        for (spec, purpose) in [(one, Purpose::Round), (one, Purpose::State), (other, Purpose::Round)] {
            blob_demand.want(blob, spec, purpose, || ());
        }
        assert!(!cancelled(one, Purpose::State), "a state's want is not the round's");
        assert!(cancelled(one, Purpose::Round), "the other model's want is another one");
        assert!(cancelled(other, Purpose::Round));
        blob_demand.want(blob, one, Purpose::Round, || ());
        blob_demand.want(blob, one, Purpose::State, || ());
        assert!(!blob_demand.take(&blob, other, Purpose::Round));
        assert!(blob_demand.take(&blob, one, Purpose::State));
        assert!(!blob_demand.take(&blob, one, Purpose::State), "it was taken");
        blob_demand.want(blob, one, Purpose::State, || ());
        assert_eq!(blob_demand.arrived(&blob, other), BTreeSet::new());
        assert_eq!(
            blob_demand.arrived(&blob, one),
            BTreeSet::from([Purpose::Round, Purpose::State])
        );
        assert!(blob_demand.0.lock().is_empty());
    }
}
