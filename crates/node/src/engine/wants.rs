//! Who wants which blob fetched: a download that one of them gives up goes on for the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::round::Machine;

/// What a blob is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A round: an update or weights.
    Round,
    /// A published state.
    State,
    /// An announced spec.
    Offer,
}

/// Bounded by what names the blobs: records, states on their way, offers.
#[derive(Default)]
pub struct Wants(Mutex<BTreeMap<BlobId, BTreeSet<(SpecId, Purpose)>>>);

impl Wants {
    /// Notes a want, then asks for the download, so that nobody cancels it in between.
    pub fn want(&self, blob: BlobId, spec: SpecId, purpose: Purpose, ask: impl FnOnce()) {
        let mut wants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wants.entry(blob).or_default().insert((spec, purpose));
        ask();
    }

    /// No longer wanted for this; cancels the download when nobody else wants it.
    pub fn forget(&self, blob: &BlobId, spec: SpecId, purpose: Purpose, cancel: impl FnOnce()) {
        let mut wants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if remove(&mut wants, blob, spec, Some(purpose)) {
            cancel();
        }
    }

    /// It has come for this model.
    pub fn arrived(&self, blob: &BlobId, spec: SpecId) {
        let mut wants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remove(&mut wants, blob, spec, None);
    }
}

/// `true` = nobody wants it any more.
fn remove(
    wants: &mut BTreeMap<BlobId, BTreeSet<(SpecId, Purpose)>>,
    blob: &BlobId,
    spec: SpecId,
    purpose: Option<Purpose>,
) -> bool {
    let Some(by) = wants.get_mut(blob) else { return true };
    by.retain(|(s, p)| *s != spec || purpose.is_some_and(|purpose| purpose != *p));
    if by.is_empty() {
        wants.remove(blob);
        return true;
    }
    false
}

/// Who owes an update: the author of a contribution to the open round has it, or it would not have announced it. Of an older
/// one that can no longer be said: its author may have collected it.
pub fn owed_by(machine: &Machine, update: &BlobId) -> Option<NodeId> {
    let open = machine.open_round();
    let fresh = open.contributions.iter().filter(|c| !c.late);
    let mut signed = fresh.filter_map(|c| machine.contribution(&c.id));
    signed.find(|c| c.record.update == *update).map(|c| c.record.author)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_cancelled_only_when_nobody_wants_it_any_more() {
        let (blob, one, other) = (BlobId([1; 32]), SpecId([2; 32]), SpecId([3; 32]));
        let wants = Wants::default();
        let cancelled = |spec, purpose| {
            let mut cancelled = false;
            wants.forget(&blob, spec, purpose, || cancelled = true);
            cancelled
        };
        for (spec, purpose) in [(one, Purpose::Round), (one, Purpose::State), (other, Purpose::Round)] {
            wants.want(blob, spec, purpose, || ());
        }
        assert!(!cancelled(one, Purpose::State), "a state's want is not the round's");
        assert!(!cancelled(one, Purpose::Round), "the other model still wants it");
        assert!(cancelled(other, Purpose::Round));
        wants.want(blob, one, Purpose::Round, || ());
        wants.arrived(&blob, one);
        assert!(wants.0.lock().unwrap().is_empty());
    }
}
