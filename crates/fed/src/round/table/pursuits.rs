//! The blobs that are fetched for the leaves that would be the head.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobId, CheckpointId, ProposalId};
use crate::record::BlobRole;
use crate::round::table::want::Want;

/// The blobs and the step that one leaf waits for.
#[derive(Debug)]
struct Wait {
    /// The first unverified checkpoint on the way to the leaf.
    step: CheckpointId,
    /// The proposal that the step is computed from.
    proposal: Option<ProposalId>,
    blobs: BTreeSet<BlobId>,
}

/// The blobs that leaves wait for. A leaf is looked at when it comes up, and again when a blob that it waits for has come. An
/// open model may have any number of leaves, and a blob that came for one of them concerns few others.
#[derive(Debug, Default)]
pub(in crate::round) struct Pursuits {
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

    /// Begins to look at a leaf, which waits for no blob yet.
    pub fn begin(&mut self, leaf: CheckpointId, step: CheckpointId, proposal: Option<ProposalId>) {
        self.release(&leaf);
        self.by_step.entry(step).or_default().insert(leaf);
        if let Some(proposal) = proposal {
            self.by_proposal.entry(proposal).or_default().insert(leaf);
        }
        let blobs = BTreeSet::new();
        self.waits.insert(leaf, Wait { step, proposal, blobs });
    }

    /// Notes that a leaf waits for this blob, with its [`Want`]. What a seal names goes before an update: it is asked for only if it
    /// was computed or attested, while an author can name any blob as its update.
    pub fn add(&mut self, leaf: &CheckpointId, blob: BlobId, want: Want) {
        let Some(wait) = self.waits.get_mut(leaf) else { return };
        wait.blobs.insert(blob);
        self.waiting.entry(blob).or_default().insert(*leaf);
        let known = self
            .wants
            .get(&blob)
            .is_some_and(|known| known.role != BlobRole::Update);
        if !(want.role == BlobRole::Update && known) {
            self.wants.insert(blob, want);
        }
    }

    /// Number of blobs that a leaf waits for.
    pub fn count(&self, leaf: &CheckpointId) -> usize {
        self.waits.get(leaf).map_or(0, |wait| wait.blobs.len())
    }

    /// Ends all waits of a leaf.
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

    /// Notes that a blob came. Returns the leaves for which it was the last update, or which a seal names.
    pub fn came(&mut self, blob: &BlobId) -> Vec<CheckpointId> {
        let named = self
            .wants
            .remove(blob)
            .is_some_and(|want| want.role != BlobRole::Update);
        let leaves = self.waiting.remove(blob).unwrap_or_default();
        let mut again = vec![];
        for leaf in leaves {
            if let Some(wait) = self.waits.get_mut(&leaf) {
                wait.blobs.remove(blob);
                if named || wait.blobs.is_empty() {
                    again.push(leaf);
                }
            }
        }
        again
    }

    pub fn at_step(&self, step: &CheckpointId) -> Vec<CheckpointId> {
        self.by_step.get(step).into_iter().flatten().copied().collect()
    }

    pub fn on_proposal(&self, id: &ProposalId) -> Vec<CheckpointId> {
        self.by_proposal.get(id).into_iter().flatten().copied().collect()
    }
}
