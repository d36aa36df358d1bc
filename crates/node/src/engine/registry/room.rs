//! Room for models that nobody here joined.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use qres_fed::id::SpecId;

use super::Model;

/// Models known but not joined: above it the oldest are forgotten. A spec is a few KiB as a rule.
const AVAILABLE_MAX: usize = 1024;
/// Of these, by one creator.
pub(super) const AVAILABLE_PER_CREATOR_MAX: usize = 64;
/// Bytes of all their specs, which are kept as blobs.
const AVAILABLE_BYTES_MAX: u64 = 256 << 20;

/// Which models that were never joined go so that a new one fits.
pub(super) fn make(models: &BTreeMap<SpecId, Arc<Model>>, new: &Model) -> Option<Vec<Arc<Model>>> {
    let creator = new.spec().creator;
    let mut available: Vec<_> = models.values().filter(|m| m.joined().is_none()).collect();
    // Whoever announces too much displaces its own first.
    available.sort_by_key(|m| (m.spec().creator != creator, m.number.load(Ordering::Relaxed)));
    let mut all = available.len();
    let mut by_creator = available.iter().filter(|m| m.spec().creator == creator).count();
    let mut bytes = available.iter().map(|m| m.spec_bytes).sum::<u64>() + new.spec_bytes;
    let mut forgotten = vec![];
    // The creator's own make room for its share; for the rest the oldest of all do.
    let own_first = by_creator >= AVAILABLE_PER_CREATOR_MAX;
    if !own_first {
        available.sort_by_key(|m| m.number.load(Ordering::Relaxed));
    }
    for old in available {
        if all < AVAILABLE_MAX && by_creator < AVAILABLE_PER_CREATOR_MAX && bytes <= AVAILABLE_BYTES_MAX {
            break;
        }
        if old.pinned.load(Ordering::Relaxed) {
            continue;
        }
        all -= 1;
        by_creator -= usize::from(old.spec().creator == creator);
        bytes -= old.spec_bytes;
        forgotten.push(old.clone());
    }
    let fits = all < AVAILABLE_MAX && by_creator < AVAILABLE_PER_CREATOR_MAX && bytes <= AVAILABLE_BYTES_MAX;
    fits.then_some(forgotten)
}
