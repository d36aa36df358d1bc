//! The data of a node that survive a crash.

use std::collections::{BTreeMap, BTreeSet};

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId, SealId, SubmissionId};
use qres_fed::record::{Consent, Content, Contribution, Proof, Seal, Signed};
use qres_fed::round::{Archived, Persist, Restored, Root, Submission, SubmissionState};

/// A node's store. Every call of [`Disk::commit`] is one transaction.
#[derive(Debug, Default, Clone)]
pub struct Disk {
    pub contributions: BTreeMap<ContributionId, Signed<Contribution>>,
    pub seals: BTreeMap<SealId, Signed<Seal>>,
    pub proofs: BTreeMap<ProofId, Proof>,
    pub consents: BTreeMap<NodeId, Signed<Consent>>,
    pub verified: BTreeSet<CheckpointId>,
    pub submissions: BTreeMap<SubmissionId, (Submission, SubmissionState)>,
    pub blobs: BTreeSet<BlobId>,
    pub archive: BTreeMap<u64, Archived>,
    pub root: Option<Root>,
}

impl Disk {
    pub fn commit(&mut self, persists: Vec<Persist>) {
        for persist in persists {
            match persist {
                Persist::Contribution(c) => {
                    self.contributions.insert(c.record.id(), c);
                }
                Persist::Seal(s) => {
                    self.seals.insert(s.record.id(), s);
                }
                Persist::Proof(p) => {
                    self.proofs.insert(p.id(), p);
                }
                Persist::Consent(c) => {
                    self.consents.insert(c.record.author, c);
                }
                Persist::Verified(id) => {
                    self.verified.insert(id);
                }
                Persist::Submission(id, state) => {
                    let known = self
                        .submissions
                        .get_mut(&id)
                        .expect("a state of a submission that was acknowledged");
                    assert!(
                        !known.1.is_final() || known.1 == state,
                        "a final answer changes: {:?} was {:?} and becomes {state:?}",
                        known.0,
                        known.1
                    );
                    known.1 = state;
                }
                Persist::Forget(gone) => {
                    self.contributions.retain(|id, _| !gone.contributions.contains(id));
                    self.seals.retain(|id, _| !gone.seals.contains(id));
                    self.proofs.retain(|id, _| !gone.proofs.contains(id));
                    self.verified.retain(|id| !gone.verified.contains(id));
                }
                Persist::Archive { root, rounds } => {
                    let rounds = rounds.into_iter().map(|round| (round.seal.record.round, round));
                    self.archive.extend(rounds);
                    self.root = Some(root);
                }
                Persist::Unarchive { root } => {
                    self.archive.split_off(&root.round);
                    self.root = Some(root);
                }
            }
        }
    }

    /// Returns the data that a machine is given at a restart.
    pub fn restored(&self, zero: (CheckpointId, BlobId)) -> Restored {
        let contents: BTreeMap<CheckpointId, Content> = self
            .seals
            .values()
            .map(|s| (s.record.checkpoint().id(), s.record.result))
            .collect();
        let here = |id: &&CheckpointId| {
            let content = if **id == zero.0 {
                Some(Content::of_weights(zero.1))
            } else {
                contents.get(*id).copied()
            };
            content.is_some_and(|content| content.blobs().all(|(_, blob)| self.blobs.contains(&blob)))
        };
        let open = self.submissions.values().filter(|(_, state)| !state.is_final());
        Restored {
            contributions: self.contributions.values().cloned().collect(),
            seals: self.seals.values().cloned().collect(),
            proofs: self.proofs.values().cloned().collect(),
            consents: self.consents.values().cloned().collect(),
            verified: self.verified.iter().filter(here).copied().collect(),
            submissions: open.cloned().collect(),
            root: self.root.clone(),
        }
    }
}
