//! What is fetched for the leaves that would be the head, and when a leaf is looked at again.

use std::collections::{BTreeMap, BTreeSet};

use super::blobs::Want;
use super::machine::Machine;
use crate::id::{BlobId, CheckpointId, ProposalId};

/// What one leaf waits for.
#[derive(Debug)]
struct Wait {
    /// The first unverified checkpoint on the way to it.
    step: CheckpointId,
    /// What the step is computed from.
    proposal: Option<ProposalId>,
    blobs: BTreeSet<BlobId>,
}

/// The blobs that leaves wait for. A leaf is looked at when it comes up, and again when something it waits for has come: an open model
/// may have any number of leaves, and what came for one of them concerns few others.
#[derive(Debug, Default)]
pub(super) struct Pursuits {
    wants: BTreeMap<BlobId, Want>,
    waiting: BTreeMap<BlobId, BTreeSet<CheckpointId>>,
    waits: BTreeMap<CheckpointId, Wait>,
    by_step: BTreeMap<CheckpointId, BTreeSet<CheckpointId>>,
    by_proposal: BTreeMap<ProposalId, BTreeSet<CheckpointId>>,
}

fn take<K: Ord>(map: &mut BTreeMap<K, BTreeSet<CheckpointId>>, key: &K, leaf: &CheckpointId) -> bool {
    let Some(set) = map.get_mut(key) else { return false };
    set.remove(leaf);
    let empty = set.is_empty();
    if empty {
        map.remove(key);
    }
    empty
}

impl Pursuits {
    pub fn wants(&self) -> &BTreeMap<BlobId, Want> {
        &self.wants
    }

    /// A leaf is looked at: it waits for nothing yet.
    pub fn begin(&mut self, leaf: CheckpointId, step: CheckpointId, proposal: Option<ProposalId>) {
        self.release(&leaf);
        self.by_step.entry(step).or_default().insert(leaf);
        if let Some(proposal) = proposal {
            self.by_proposal.entry(proposal).or_default().insert(leaf);
        }
        let blobs = BTreeSet::new();
        self.waits.insert(leaf, Wait { step, proposal, blobs });
    }

    /// A leaf waits for this blob. Weights go first: they are asked for only where they were computed or attested, while an update is
    /// whatever its author says.
    pub fn add(&mut self, leaf: &CheckpointId, blob: BlobId, want: Want) {
        let Some(wait) = self.waits.get_mut(leaf) else { return };
        wait.blobs.insert(blob);
        self.waiting.entry(blob).or_default().insert(*leaf);
        let weights_known = self.wants.get(&blob).is_some_and(|known| !known.update);
        if !(want.update && weights_known) {
            self.wants.insert(blob, want);
        }
    }

    /// How many blobs a leaf waits for.
    pub fn count(&self, leaf: &CheckpointId) -> usize {
        self.waits.get(leaf).map_or(0, |wait| wait.blobs.len())
    }

    /// A leaf waits for nothing any more.
    pub fn release(&mut self, leaf: &CheckpointId) {
        let Some(wait) = self.waits.remove(leaf) else { return };
        take(&mut self.by_step, &wait.step, leaf);
        if let Some(proposal) = wait.proposal {
            take(&mut self.by_proposal, &proposal, leaf);
        }
        for blob in wait.blobs {
            if take(&mut self.waiting, &blob, leaf) {
                self.wants.remove(&blob);
            }
        }
    }

    /// A blob came. Returns the leaves for which it was the last update, or the weights.
    fn came(&mut self, blob: &BlobId) -> Vec<CheckpointId> {
        let weights = self.wants.remove(blob).is_some_and(|want| !want.update);
        let leaves = self.waiting.remove(blob).unwrap_or_default();
        let mut again = vec![];
        for leaf in leaves {
            if let Some(wait) = self.waits.get_mut(&leaf) {
                wait.blobs.remove(blob);
                if weights || wait.blobs.is_empty() {
                    again.push(leaf);
                }
            }
        }
        again
    }

    fn at_step(&self, step: &CheckpointId) -> Vec<CheckpointId> {
        self.by_step.get(step).into_iter().flatten().copied().collect()
    }

    fn on_proposal(&self, id: &ProposalId) -> Vec<CheckpointId> {
        self.by_proposal.get(id).into_iter().flatten().copied().collect()
    }
}

impl Machine {
    fn look_again(&mut self, leaves: &[CheckpointId]) {
        leaves.iter().for_each(|leaf| self.tree.set_seen(leaf, false, false));
        self.head_dirty |= !leaves.is_empty();
    }

    /// A blob that leaves may wait for is here.
    pub(super) fn pursued_came(&mut self, blob: &BlobId) {
        if self.pursuits.wants.contains_key(blob) {
            let leaves = self.pursuits.came(blob);
            self.look_again(&leaves);
            self.head_dirty = true;
        }
    }

    /// A checkpoint is verified now, or can be computed now: leaves for which it was the next step go on.
    pub(super) fn step_moved(&mut self, step: &CheckpointId) {
        let leaves = self.pursuits.at_step(step);
        self.look_again(&leaves);
    }

    /// A computation ended, one way or the other, or may be tried again.
    pub(super) fn job_moved(&mut self, id: &ProposalId) {
        let leaves = self.pursuits.on_proposal(id);
        self.look_again(&leaves);
    }

    /// Works towards having a blob, for the leaf that is looked at.
    pub(super) fn pursue_blob(&mut self, leaf: &CheckpointId, blob: BlobId, want: Want) {
        self.pursuits.add(leaf, blob, want);
    }
}
