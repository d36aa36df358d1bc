//! The answers of a machine to those that ask.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId, SealId, SubmissionId};
use crate::record::{Content, Contribution, Proof, Seal, Signed};
use crate::round::machine::Machine;
use crate::round::table::node::Node;
use crate::round::{BaseError, CheckpointInfo, ContributionInfo, RecordId, RoundInfo, SubmissionState};

impl Machine {
    fn info(&self, node: &Node) -> CheckpointInfo {
        CheckpointInfo {
            id: node.id,
            round: node.round,
            parent: node.parent,
            content: node.content,
            confirmed: self.is_confirmed(node),
            verified: node.verified,
        }
    }

    /// Returns true if a quorum votes for the checkpoint or for a descendant. On the head's branch its round
    /// decides; elsewhere the descendants are searched.
    fn is_confirmed(&self, node: &Node) -> bool {
        if node.parent.is_none() || self.history.chain.contains(node.round, &node.id) {
            return node.round <= self.history.confirmed_round();
        }
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if node.confirmed == node.round {
                return true;
            }
            open.extend(node.children.iter().filter_map(|id| self.history.tree.get(id)));
        }
        false
    }

    fn chain_info(&self, round: u64) -> CheckpointInfo {
        let node = self.history.chain.at(round).and_then(|id| self.history.tree.get(&id));
        // The head's branch is in the tree, and the root always is.
        self.info(
            node.or_else(|| self.history.tree.get(&self.history.tree.root()))
                .expect("the root is in the tree"),
        )
    }

    /// The checkpoint that this node stands on, as a [`CheckpointInfo`]. The head is unverified
    /// only until the weights of checkpoint 0 are here.
    pub fn head(&self) -> CheckpointInfo {
        self.chain_info(self.history.chain.round())
    }

    /// The newest confirmed checkpoint of the head's branch (checkpoint 0 when none is).
    pub fn confirmed_head(&self) -> CheckpointInfo {
        self.chain_info(self.history.confirmed_round())
    }

    /// The newest final checkpoint of the head's branch (checkpoint 0 when none is): no branch without it can win.
    pub fn settled_head(&self) -> CheckpointInfo {
        self.chain_info(self.history.settled_round())
    }

    /// A checkpoint on any branch, if it is known.
    pub fn checkpoint(&self, id: &CheckpointId) -> Option<CheckpointInfo> {
        self.history.tree.get(id).map(|node| self.info(node))
    }

    /// Checks if a submission trained from this checkpoint would be taken now. The [`BaseError`] says why not.
    pub fn check_base(&self, base: &CheckpointId) -> Result<(), BaseError> {
        self.base_fault(base)
    }

    /// Reason why no update could be made of a trainer's work on a base, in this run.
    pub fn unusable(&self, trainer: &str, base: &CheckpointId) -> Option<String> {
        self.submissions.unusable(trainer, base).map(str::to_owned)
    }

    /// Number of submissions that no update could be made of, in this run.
    pub fn unusable_count(&self) -> u64 {
        self.submissions.unusable_count
    }

    /// The round up to which everything but the seals of the head's branch is
    /// forgotten here. Records of these rounds need no sync.
    pub fn horizon(&self) -> u64 {
        self.history.horizon
    }

    /// The round up to which records of others are of no use here. While a quorum stands on an unknown checkpoint the answer is
    /// 0, because the branch of that checkpoint may part anywhere.
    pub fn sync_above(&self) -> u64 {
        if self.search.attested.is_some() {
            0
        } else {
            self.history.horizon
        }
    }

    /// Returns true if a record is held, or waits for a record that it builds on.
    pub fn keeps(&self, id: &RecordId) -> bool {
        match id {
            RecordId::Contribution(id) => {
                self.history.ledger.contribution(id).is_some() || self.history.orphans.has_contribution(id)
            }
            RecordId::Seal(id) => self.history.ledger.seal(id).is_some() || self.history.orphans.has_seal(id),
            RecordId::Proof(id) => self.history.ledger.proof(id).is_some(),
            RecordId::Consent(id) => self.consent(id).is_some(),
        }
    }

    /// The round on the head that is open now, as a [`RoundInfo`].
    pub fn open_round(&self) -> RoundInfo {
        let head = self.history.chain.head();
        let round = self.history.chain.round() + 1;
        // A seal would list these contributions now. The other contributors are still missing, or excluded.
        let mut contributions: Vec<_> = self
            .ready()
            .iter()
            .filter_map(|id| self.contribution_info(id, false))
            .collect();
        let closing = self.is_at_end();
        let evaluation = match closing {
            true => vec![],
            false => self.history.evaluation(&self.rules, self.ready().iter()),
        };
        let late = self.late_to_seal();
        contributions.extend(late.iter().filter_map(|id| self.contribution_info(id, true)));
        RoundInfo {
            round,
            parent: head,
            checkpoint: None,
            sealers: vec![],
            contributions,
            evaluation,
            closing,
            missing: self.missing(),
            excluded: self.excluded_members(),
            deadline: self.deadline(),
            losing_seals: self.history.losing_seals(round),
        }
    }

    /// A sealed round of the head's branch, or the open round. Below the horizon the
    /// contributions are forgotten, and only their ids are given.
    pub fn round(&self, round: u64) -> Option<RoundInfo> {
        if round == self.history.chain.round() + 1 {
            return Some(self.open_round());
        }
        let node = self.history.tree.get(&self.history.chain.at(round)?)?;
        let parent = node.parent?;
        let seal = self.history.seal_of(node)?;
        let listed = |id: &ContributionId, late| {
            let known = self.contribution_info(id, late);
            known.unwrap_or_else(|| ContributionInfo::forgotten(*id, late))
        };
        let fresh = seal.fresh.iter().map(|id| listed(id, false));
        let late = seal.late.iter().map(|id| listed(id, true));
        let closing = self.closing_content(&parent).is_some();
        let evaluation = match closing {
            true => vec![],
            false => self.history.evaluation(&self.rules, seal.fresh.iter()),
        };
        Some(RoundInfo {
            closing,
            round,
            parent,
            checkpoint: Some(self.info(node)),
            sealers: self.history.sealers_of(node).into_iter().collect(),
            contributions: fresh.chain(late).collect(),
            evaluation,
            missing: vec![],
            excluded: vec![],
            deadline: None,
            losing_seals: self.history.losing_seals(round),
        })
    }

    fn contribution_info(&self, id: &ContributionId, late: bool) -> Option<ContributionInfo> {
        let c = &self.history.ledger.contribution(id)?.record;
        Some(ContributionInfo {
            id: *id,
            author: Some(c.author),
            samples: c.samples,
            fidelity: c.fidelity,
            bytes: c.update_bytes,
            late,
            here: self.fetching.blobs.updates.is_here(&c.update),
            report: c.report.clone(),
            releases: c.releases,
        })
    }

    /// Members that are convicted, or will be soon because a proof is held.
    fn excluded_members(&self) -> Vec<NodeId> {
        let members = self.rules.members().into_iter().flatten();
        members
            .filter(|member| self.history.is_excluded(member))
            .copied()
            .collect()
    }

    /// Blobs that must be kept; all others of this model may be collected.
    ///
    /// These are checkpoint 0 (a node that joins begins with it), the weights of every checkpoint from the horizon on, the
    /// updates of every contribution held, the results that were computed and may yet be sealed, the bases of waiting
    /// submissions, the blobs needed for what would be the head, and the blobs that are believed to be here.
    pub fn live_blobs(&self) -> BTreeSet<BlobId> {
        let mut live = BTreeSet::from([self.rules.spec.checkpoint0]);
        live.extend(
            self.history
                .tree
                .rounds_from(self.history.horizon)
                .flat_map(|node| node.content.blobs())
                .map(|(_, blob)| blob),
        );
        live.extend(
            self.history
                .ledger
                .contributions_of(0, u64::MAX)
                .map(|(_, c)| c.record.update),
        );
        live.extend(
            self.fetching
                .jobs
                .results()
                .flat_map(Content::blobs)
                .map(|(_, blob)| blob),
        );
        live.extend(
            self.submissions
                .bases()
                .filter_map(|id| self.history.tree.get(id))
                .map(|node| node.content.weights),
        );
        live.extend(self.fetching.pursuits.wants().keys());
        // A blob that is believed to be here must stay here.
        live.extend(self.fetching.blobs.here());
        live
    }

    /// All records held, by round. Sync compares this set.
    pub fn records(&self) -> &BTreeSet<(u64, RecordId)> {
        self.history.ledger.index()
    }

    /// A contribution that is held.
    pub fn contribution(&self, id: &ContributionId) -> Option<&Signed<Contribution>> {
        self.history.ledger.contribution(id)
    }

    /// A seal that is held.
    pub fn seal(&self, id: &SealId) -> Option<&Signed<Seal>> {
        self.history.ledger.seal(id)
    }

    /// A proof that is held.
    pub fn proof(&self, id: &ProofId) -> Option<&Proof> {
        self.history.ledger.proof(id)
    }

    /// States of this node's submissions that are not final, or became final in this run (the last 1,024).
    pub fn submissions(&self) -> &BTreeMap<SubmissionId, SubmissionState> {
        self.submissions.states()
    }
}
