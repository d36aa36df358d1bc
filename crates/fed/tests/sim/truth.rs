//! The truth, independent of the belief of any node: every record ever made, and a second version of the rules of validity.

use std::collections::{BTreeMap, BTreeSet};

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId, SealId};
use qres_fed::record::{Content, Contribution, Figures, Membership, Proof, Seal, Spec};
use qres_fed::round::{AggregateJob, FreshItem, LateItem};
use qres_fed::strategy;

/// Computes a deterministic stand-in for an aggregation: equal inputs give equal bits.
pub fn aggregate(spec: &Spec, base: &Content, fresh: &[FreshItem], late: &[LateItem]) -> Content {
    let mut bytes = base.weights.0.to_vec();
    bytes.extend(base.optimiser.iter().flat_map(|blob| blob.0));
    for item in fresh {
        bytes.extend(item.id.0);
        bytes.extend(item.update.0);
        bytes.extend(item.samples.to_le_bytes());
    }
    bytes.push(b'|');
    for late in late {
        bytes.extend(late.item.id.0);
        bytes.extend(late.item.update.0);
        bytes.extend(late.item.samples.to_le_bytes());
        bytes.extend(late.staleness.to_le_bytes());
    }
    let weights = BlobId::of(&bytes);
    bytes.push(b'|');
    let optimiser = strategy::optimiser(&spec.strategy).map(|_| BlobId::of(&bytes));
    Content { weights, optimiser }
}

pub fn aggregate_job(spec: &Spec, job: &AggregateJob) -> Content {
    aggregate(spec, &job.base, &job.fresh, &job.late)
}

/// All records that were ever made in a run.
#[derive(Debug)]
pub struct Truth {
    pub spec: Spec,
    pub zero: CheckpointId,
    pub contributions: BTreeMap<ContributionId, Contribution>,
    pub seals: BTreeMap<CheckpointId, Seal>,
    pub proofs: BTreeMap<ProofId, Proof>,
    pub bad: BTreeSet<BlobId>,
    /// The updates that their authors keep back.
    pub withheld: BTreeSet<BlobId>,
    /// The seals of contributions that no node made.
    pub unknowable: BTreeSet<SealId>,
    /// Checkpoints that were found valid together with all their ancestors.
    valid: BTreeSet<CheckpointId>,
}

impl Truth {
    pub fn new(spec: &Spec) -> Self {
        let (zero, _) = spec.zero();
        Self {
            spec: spec.clone(),
            zero,
            contributions: BTreeMap::new(),
            seals: BTreeMap::new(),
            proofs: BTreeMap::new(),
            bad: BTreeSet::new(),
            withheld: BTreeSet::new(),
            unknowable: BTreeSet::new(),
            valid: BTreeSet::from([zero]),
        }
    }

    pub fn content_of(&self, checkpoint: &CheckpointId) -> Content {
        if *checkpoint == self.zero {
            Content::of_weights(self.spec.checkpoint0)
        } else {
            self.seals[checkpoint].result
        }
    }

    /// Returns true if some checkpoint has these weights.
    pub fn is_weights(&self, blob: &BlobId) -> bool {
        *blob == self.spec.checkpoint0 || self.seals.values().any(|seal| seal.result.weights == *blob)
    }

    /// Returns true if the run has ended with this checkpoint, or with one before it.
    fn has_ended(&self, at: &CheckpointId) -> bool {
        let Some(seal) = self.seals.get(at) else { return false };
        if self.spec.end.max_rounds.is_some_and(|last| seal.round >= last) || self.has_ended(&seal.parent) {
            return true;
        }
        let Some(target) = &self.spec.end.target else {
            return false;
        };
        let reports = seal
            .fresh
            .iter()
            .filter_map(|id| Some(&self.contributions.get(id)?.report));
        let losses = reports.filter_map(|report| Some(report.metrics[0]?.value));
        losses.filter(|loss| *loss <= target.value).count() >= self.spec.quorum()
    }

    /// Returns the result that a seal should have.
    pub fn result_of(&self, seal: &Seal) -> Content {
        if self.has_ended(&seal.parent) {
            return self.content_of(&seal.parent);
        }
        let item = |id: &ContributionId| {
            let c = &self.contributions[id];
            FreshItem {
                id: *id,
                author: c.author,
                update: c.update,
                samples: c.samples,
                figures: Figures::default(),
            }
        };
        let late = |id: &ContributionId| LateItem {
            item: item(id),
            staleness: u32::try_from(seal.round - self.contributions[id].round).expect("small"),
        };
        let fresh: Vec<_> = seal.fresh.iter().map(item).collect();
        let late: Vec<_> = seal.late.iter().map(late).collect();
        aggregate(&self.spec, &self.content_of(&seal.parent), &fresh, &late)
    }

    fn convicted(&self, mut at: CheckpointId) -> BTreeSet<NodeId> {
        let mut all = BTreeSet::new();
        while let Some(seal) = self.seals.get(&at) {
            all.extend(seal.proofs.iter().map(|id| self.proofs[id].author()));
            at = seal.parent;
        }
        all
    }

    /// Returns the contributions that the seals from checkpoint 0 to `at` list, each with the checkpoint that lists it.
    pub fn listed(&self, mut at: CheckpointId) -> BTreeMap<ContributionId, CheckpointId> {
        let mut all = BTreeMap::new();
        while let Some(seal) = self.seals.get(&at) {
            all.extend(seal.fresh.iter().chain(&seal.late).map(|id| (*id, at)));
            at = seal.parent;
        }
        all
    }

    /// Returns true if `ancestor` is `at` or an ancestor of it.
    pub fn descends(&self, mut at: CheckpointId, ancestor: CheckpointId) -> bool {
        while at != ancestor {
            let Some(seal) = self.seals.get(&at) else { return false };
            at = seal.parent;
        }
        true
    }

    /// Asserts that a checkpoint and all its ancestors are valid.
    pub fn assert_valid(&mut self, checkpoint: &CheckpointId) {
        let mut open = vec![];
        let mut at = *checkpoint;
        while !self.valid.contains(&at) {
            open.push(at);
            at = self.seals[&at].parent;
        }
        for at in open.into_iter().rev() {
            let seal = self.seals[&at].clone();
            self.assert_seal(&seal);
            self.valid.insert(at);
        }
    }

    fn assert_seal(&self, seal: &Seal) {
        let k = self.spec.rounds.min_contributions as usize;
        let members = |author: &NodeId| match &self.spec.membership {
            Membership::List(members) => members.contains(author),
            Membership::Open => true,
        };
        let parent_round = if seal.parent == self.zero {
            0
        } else {
            self.seals[&seal.parent].round
        };
        assert_eq!(seal.spec, self.spec.id(), "of this spec");
        assert_eq!(seal.round, parent_round + 1, "one round after its parent");
        assert!(members(&seal.sealer), "sealed by a member");
        let convicted = self.convicted(seal.checkpoint().id());
        let mut authors = BTreeSet::new();
        for id in &seal.fresh {
            let c = &self.contributions[id];
            assert_eq!(c.parent, seal.parent, "a fresh contribution is on the parent");
            assert_eq!(c.round, seal.round, "and of its round");
            assert!(members(&c.author) && authors.insert(c.author), "of distinct members");
            assert!(!convicted.contains(&c.author), "by nobody who is convicted");
            assert!(!self.bad.contains(&c.update), "on the schema");
        }
        assert!(authors.len() >= k, "at least k fresh contributions");
        self.assert_late(seal, &convicted);
        assert_eq!(seal.result, self.result_of(seal), "the result is as recomputed");
    }

    fn assert_late(&self, seal: &Seal, convicted: &BTreeSet<NodeId>) {
        let mut authors = BTreeSet::new();
        for id in &seal.late {
            let c = &self.contributions[id];
            let behind = seal.round - c.round;
            assert!(
                c.round < seal.round && behind <= u64::from(self.spec.rounds.max_staleness),
                "not too late"
            );
            assert!(authors.insert(c.author), "at most one late contribution a member");
            assert!(
                !convicted.contains(&c.author) && !self.bad.contains(&c.update),
                "by an honest-looking member"
            );
            let mut at = seal.parent;
            while let Some(above) = self.seals.get(&at) {
                assert!(
                    !above.fresh.contains(id) && !above.late.contains(id),
                    "no contribution twice in a chain"
                );
                if above.round < c.round {
                    break;
                }
                at = above.parent;
            }
        }
    }
}
