//! The state of blobs: here, bad, or on their way.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobId, ContributionId};
use crate::record::Contribution;

/// The blobs that are here, and the blobs that were checked and are not what they should be.
#[derive(Debug, Default)]
pub(in crate::round) struct Known {
    here: BTreeSet<BlobId>,
    bad: BTreeSet<BlobId>,
}

impl Known {
    pub fn is_here(&self, blob: &BlobId) -> bool {
        self.here.contains(blob)
    }

    pub fn is_bad(&self, blob: &BlobId) -> bool {
        self.bad.contains(blob)
    }

    /// Notes that a blob is here. Returns true if that is new.
    pub fn set_here(&mut self, blob: BlobId) -> bool {
        self.here.insert(blob)
    }

    /// Notes that a blob is not what it should be.
    pub fn set_bad(&mut self, blob: BlobId) {
        self.here.remove(&blob);
        self.bad.insert(blob);
    }

    /// Notes that a blob is not here after all. A request that the driver works on stays.
    pub fn set_gone(&mut self, blob: &BlobId) {
        self.here.remove(blob);
    }

    pub fn forget(&mut self, blob: &BlobId) {
        self.here.remove(blob);
        self.bad.remove(blob);
    }
}

/// The state of blobs, in one [`Known`] for updates and one for weights. Any node may name any blob as its update, also the
/// weights of a checkpoint, and a check of a blob as an update says nothing about the blob as weights. The size is bounded by
/// the contributions held and by the checkpoints that might become the head.
#[derive(Debug, Default)]
pub(in crate::round) struct Blobs {
    pub updates: Known,
    pub weights: Known,
    /// The blobs that the driver works on; true if the blob is wanted as an update.
    pub wanted: BTreeMap<BlobId, bool>,
    users: BTreeMap<BlobId, BTreeSet<ContributionId>>,
}

impl Blobs {
    pub fn add_user(&mut self, id: ContributionId, c: &Contribution) {
        self.users.entry(c.update).or_default().insert(id);
    }

    /// Removes a contribution from the users of its blob. With the last user, the state of the blob as an update is forgotten.
    pub fn remove_user(&mut self, id: &ContributionId, c: &Contribution) {
        if let Some(users) = self.users.get_mut(&c.update) {
            users.remove(id);
            if users.is_empty() {
                self.users.remove(&c.update);
                self.updates.forget(&c.update);
            }
        }
    }

    /// All blobs that are believed to be here, as updates or as weights.
    pub fn here(&self) -> impl Iterator<Item = &BlobId> {
        self.updates.here.iter().chain(&self.weights.here)
    }

    /// Contributions with this update.
    pub fn users(&self, blob: &BlobId) -> Vec<ContributionId> {
        self.users.get(blob).into_iter().flatten().copied().collect()
    }

    /// Ends a request with its answer. Returns true if the blob was requested in this role.
    pub fn answer(&mut self, blob: &BlobId, update: bool) -> bool {
        let asked = self.wanted.get(blob) == Some(&update);
        if asked {
            self.wanted.remove(blob);
        }
        asked
    }
}
