//! The state of blobs: here, bad, or on their way.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobId, ContributionId};
use crate::record::{BlobRole, Content, Contribution};

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

/// The state of blobs, in one [`Known`] for each role. Any node may name any blob as its update, also the weights of a
/// checkpoint, and a check of a blob as an update says nothing about the blob as weights. The size is bounded by the
/// contributions held and by the checkpoints that might become the head.
#[derive(Debug, Default)]
pub(in crate::round) struct Blobs {
    pub updates: Known,
    pub weights: Known,
    pub optimisers: Known,
    /// The blobs that the driver works on, each with the role in which it is wanted.
    pub wanted: BTreeMap<BlobId, BlobRole>,
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

    /// All blobs that are believed to be here, in any role.
    pub fn here(&self) -> impl Iterator<Item = &BlobId> {
        let roles = [&self.updates, &self.weights, &self.optimisers];
        roles.into_iter().flat_map(|known| &known.here)
    }

    pub fn known(&self, role: BlobRole) -> &Known {
        match role {
            BlobRole::Update => &self.updates,
            BlobRole::Weights => &self.weights,
            BlobRole::Optimiser => &self.optimisers,
        }
    }

    pub fn known_mut(&mut self, role: BlobRole) -> &mut Known {
        match role {
            BlobRole::Update => &mut self.updates,
            BlobRole::Weights => &mut self.weights,
            BlobRole::Optimiser => &mut self.optimisers,
        }
    }

    /// Returns true if all blobs of a checkpoint are here.
    pub fn are_here(&self, content: &Content) -> bool {
        content.blobs().all(|(role, blob)| self.known(role).is_here(&blob))
    }

    /// Notes that all blobs of a checkpoint are here.
    pub fn set_here(&mut self, content: &Content) {
        for (role, blob) in content.blobs() {
            self.known_mut(role).set_here(blob);
        }
    }

    /// Contributions with this update.
    pub fn users(&self, blob: &BlobId) -> Vec<ContributionId> {
        self.users.get(blob).into_iter().flatten().copied().collect()
    }

    /// Ends a request with its answer. Returns true if the blob was requested in this role.
    pub fn answer(&mut self, blob: &BlobId, role: BlobRole) -> bool {
        let asked = self.wanted.get(blob) == Some(&role);
        if asked {
            self.wanted.remove(blob);
        }
        asked
    }
}
