//! The history of a model as this node knows it: the records and the checkpoints that they make.

use std::collections::{BTreeMap, BTreeSet};

use crate::aggregation::shares;
use crate::id::{BlobId, CheckpointId, ContributionId, NodeId, ProofId};
use crate::record::{PROOFS_PER_SEAL_MAX, Proposal, Seal, Summary};
use crate::round::table::ballots::Ballots;
use crate::round::table::chain::Chain;
use crate::round::table::ledger::Ledger;
use crate::round::table::node::Node;
use crate::round::table::orphans::Orphans;
use crate::round::table::proofs::Proofs;
use crate::round::table::rules::Rules;
use crate::round::table::tree::Tree;
use crate::round::{Convicted, Root};
use crate::strategy;

/// The records that are held and the checkpoints that they make, with those that turned out to be invalid.
#[derive(Debug)]
pub(in crate::round) struct History {
    pub ledger: Ledger,
    pub ballots: Ballots,
    pub orphans: Orphans,
    pub tree: Tree,
    pub chain: Chain,
    /// The checkpoints that list each contribution, also for contributions that are unknown here.
    pub named: BTreeMap<ContributionId, BTreeSet<CheckpointId>>,
    pub proofs: Proofs,
    /// Tombstones of checkpoints that are invalid for ever, with their rounds.
    pub invalid: BTreeMap<CheckpointId, u64>,
    /// Invalid checkpoints by sealer, with parent and round.
    pub refuted: BTreeMap<NodeId, BTreeMap<CheckpointId, (CheckpointId, u64)>>,
    /// The round up to which everything but the seals of the head's branch is forgotten.
    pub horizon: u64,
}

impl History {
    /// Makes a history that knows nothing but the root.
    pub fn new(root: Node, rules: &Rules) -> Self {
        let (id, round) = (root.id, root.round);
        Self {
            ledger: Ledger::default(),
            ballots: Ballots::default(),
            orphans: Orphans::default(),
            tree: Tree::new(root, rules.quorum, rules.is_list),
            chain: Chain::new(id, round),
            named: BTreeMap::new(),
            proofs: Proofs::default(),
            invalid: BTreeMap::new(),
            refuted: BTreeMap::new(),
            horizon: round,
        }
    }

    /// The round of the newest confirmed checkpoint on the head's branch; checkpoint 0 is confirmed by the spec.
    pub fn confirmed_round(&self) -> u64 {
        self.tree.get(&self.chain.head()).map_or(0, |n| n.confirmed)
    }

    /// The newest final round of the head's branch: no branch without it can win.
    pub fn settled_round(&self) -> u64 {
        self.tree.get(&self.chain.head()).map_or(0, |n| n.settled)
    }

    /// Number of rounds of the head's branch above its newest settled checkpoint.
    pub fn unsettled_rounds(&self) -> u64 {
        self.chain.round().saturating_sub(self.settled_round())
    }

    /// The round up to which this node never changes its mind. In a list this is the newest round that the votes of a quorum
    /// settled. In an open model, where any node can vote, this is the horizon.
    pub fn final_round(&self, rules: &Rules) -> u64 {
        if rules.is_list {
            self.settled_round()
        } else {
            self.horizon
        }
    }

    /// The oldest checkpoint in memory.
    pub fn root(&self) -> Option<Root> {
        let node = self.tree.get(&self.tree.root())?;
        Some(Root {
            id: node.id,
            round: node.round,
            parent: node.parent,
            content: node.content,
            convicted: node.convicted.iter().collect(),
        })
    }

    /// The checkpoint of round `round` on the way from checkpoint 0 to `id`.
    pub fn ancestor_of(&self, id: CheckpointId, round: u64) -> Option<CheckpointId> {
        let mut at = self.tree.get(&id)?;
        while at.round > round {
            if self.chain.contains(at.round, &at.id) {
                return self.chain.at(round);
            }
            at = self.tree.get(&at.parent?)?;
        }
        (at.round == round).then_some(at.id)
    }

    /// The newest confirmed checkpoint of the greatest branch, verified or not. In an open model, where any node can vote, only
    /// the head's own branch counts, so that strangers cannot stop this node with data that they withhold.
    pub fn confirmed_anywhere(&self, rules: &Rules) -> CheckpointId {
        let best = self.tree.leaves().next().filter(|_| rules.is_list);
        let best = best.and_then(|rank| self.ancestor_of(rank.id.0, rank.confirmed));
        best.or_else(|| self.chain.at(self.confirmed_round()))
            .unwrap_or(self.tree.root())
    }

    /// The confirmed checkpoint, if it is neither `id` nor an ancestor or a descendant of `id`. A node that signed on `id`
    /// would then help a branch that a quorum has left.
    pub fn confirmed_against(&self, rules: &Rules, id: &CheckpointId) -> Option<CheckpointId> {
        let confirmed = self.confirmed_anywhere(rules);
        let round = self.tree.get(&confirmed)?.round;
        let node = self.tree.get(id)?;
        if node.confirmed >= round {
            // Liars can have two checkpoints of one round confirmed, and withhold
            // data that one of them needs, so the head decides.
            return None;
        }
        let mine = node.round;
        let (low, high) = if mine <= round {
            (*id, confirmed)
        } else {
            (confirmed, *id)
        };
        (self.ancestor_of(high, mine.min(round)) != Some(low)).then_some(confirmed)
    }

    /// The checkpoint of the head's branch that lists a contribution, if there is one.
    pub fn listed_in_chain(&self, id: &ContributionId) -> Option<CheckpointId> {
        let by = self.named.get(id)?;
        let on_chain = |c: &&CheckpointId| self.tree.get(c).is_some_and(|n| self.chain.contains(n.round, c));
        by.iter().find(on_chain).copied()
    }

    /// The [`Seal`] behind a checkpoint; `None` if no seal of it is in memory, as for checkpoint 0.
    pub fn seal_of(&self, node: &Node) -> Option<&Seal> {
        let seal = self.ledger.seal(node.seals.first()?)?;
        Some(&seal.record)
    }

    /// The nodes that sealed a checkpoint.
    pub fn sealers_of(&self, node: &Node) -> BTreeSet<NodeId> {
        let seals = node.seals.iter().filter_map(|id| self.ledger.seal(id));
        seals.map(|s| s.record.sealer).collect()
    }

    /// The checkpoints of a round off the head's branch, each with a node that sealed it.
    pub fn losing_seals(&self, round: u64) -> Vec<(CheckpointId, NodeId)> {
        let losers = self.tree.of_round(round).filter(|n| !self.chain.contains(round, &n.id));
        losers
            .flat_map(|n| self.sealers_of(n).into_iter().map(|sealer| (n.id, sealer)))
            .collect()
    }

    /// The [`Proposal`] that a checkpoint would be recomputed from; `None` for checkpoint 0.
    pub fn proposal_of(&self, id: &CheckpointId) -> Option<Proposal> {
        let seal = self.seal_of(self.tree.get(id)?)?;
        Some(Proposal {
            spec: seal.spec,
            round: seal.round,
            parent: seal.parent,
            fresh: seal.fresh.clone(),
            late: seal.late.clone(),
            proofs: seal.proofs.clone(),
        })
    }

    /// The update of a contribution; 32 zero bytes if the contribution is unknown.
    pub fn update_of(&self, id: &ContributionId) -> BlobId {
        let known = self.ledger.contribution(id);
        known.map_or(BlobId([0; 32]), |c| c.record.update)
    }

    /// Returns true if all contributions that a seal lists are here.
    pub fn is_checkable(&self, seal: &Seal) -> bool {
        let mut listed = seal.fresh.iter().chain(&seal.late);
        listed.all(|id| self.ledger.contribution(id).is_some())
    }

    /// Returns true if the branch lists a late contribution of this seal already. Only
    /// seals of the last `max_staleness` rounds can list it.
    pub fn repeats(&self, rules: &Rules, seal: &Seal) -> bool {
        let mut at = self.tree.get(&seal.parent);
        let mut steps = if seal.late.is_empty() {
            0
        } else {
            rules.spec.rounds.max_staleness
        };
        while let Some(node) = at.filter(|_| steps > 0) {
            if let Some(listed) = self.seal_of(node)
                && seal
                    .late
                    .iter()
                    .any(|id| listed.fresh.binary_search(id).is_ok() || listed.late.binary_search(id).is_ok())
            {
                return true;
            }
            at = node.parent.and_then(|p| self.tree.get(&p));
            steps -= 1;
        }
        false
    }

    /// What these contributions measured on their parent: a value for each of the spec's metrics, `None` where no member
    /// measured it. Nothing if a contribution is unknown here, since every node must come to the same values.
    pub fn evaluation<'a>(
        &self,
        rules: &Rules,
        fresh: impl Iterator<Item = &'a ContributionId>,
    ) -> Vec<Option<Summary>> {
        let reports = fresh.map(|id| Some(&self.ledger.contribution(id)?.record.report));
        let Some(reports) = reports.collect::<Option<Vec<_>>>() else {
            return vec![];
        };
        let metrics = rules.spec.metrics.iter().enumerate();
        metrics
            .map(|(at, metric)| {
                let values = reports.iter().filter_map(|report| *report.metrics.get(at)?);
                Summary::of(values, metric.goal)
            })
            .collect()
    }

    /// Share of the samples that a contribution has in a checkpoint, in parts per million; 0 if other contributions in it are unknown.
    pub fn share_of(&self, rules: &Rules, id: &ContributionId, node: &Node) -> u32 {
        let Some(seal) = self.seal_of(node) else { return 0 };
        let (mut weights, mut mine): (BTreeMap<NodeId, f64>, _) = (BTreeMap::new(), None);
        for listed in seal.fresh.iter().chain(&seal.late) {
            let Some(c) = self.ledger.contribution(listed) else {
                return 0;
            };
            // The same discount and limit as in `update::aggregate`. The figure here only informs.
            let behind = u32::try_from(seal.round.saturating_sub(c.record.round)).unwrap_or(u32::MAX);
            #[allow(clippy::cast_precision_loss)]
            let weight = c.record.samples as f64 * strategy::late_discount(&rules.spec.strategy, behind);
            *weights.entry(c.record.author).or_default() += weight;
            if listed == id {
                mine = Some((c.record.author, weight));
            }
        }
        let Some((author, weight)) = mine else { return 0 };
        let of_members: Vec<f64> = weights.values().copied().collect();
        let shares = shares(&of_members, strategy::max_share(&rules.spec.strategy));
        let of_author = weights.iter().zip(shares).find(|((member, _), _)| **member == author);
        let share = of_author.map_or(0.0, |((_, all), share)| share * weight / all);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let ppm = (share * 1e6).round() as u32;
        ppm
    }

    /// Returns true if a seal that is held, or an orphan seal, names the proof.
    pub fn is_named_proof(&self, id: &ProofId) -> bool {
        self.proofs.named.contains_key(id) || self.orphans.names_proof(id)
    }

    /// Returns true if a proof against `author` decides whose work counts: a contribution
    /// of `author` is held, or `author` is this node.
    pub fn needs_proof(&self, rules: &Rules, author: &NodeId) -> bool {
        self.ballots.has(author) || *author == rules.config.node
    }

    /// Returns true if a node is convicted on the head's branch.
    pub fn head_convicted(&self, author: &NodeId) -> bool {
        let head: CheckpointId = self.chain.head();
        self.tree.get(&head).is_some_and(|node| node.convicted.contains(author))
    }

    /// Returns true if this node's own seals leave an author out: the author is convicted on the head's
    /// branch, or will be soon because a proof is held.
    pub fn is_excluded(&self, author: &NodeId) -> bool {
        self.proofs.proved.contains_key(author) || self.head_convicted(author)
    }

    /// Returns the conviction of this node as [`Convicted`], if there is one.
    pub fn own_conviction(&self, rules: &Rules) -> Option<Convicted> {
        let own = rules.config.node;
        let proof = self.proofs.proved.get(&own).copied();
        self.is_excluded(&own).then_some(Convicted { proof })
    }

    /// Proofs for the next seal, ascending: one for each author that the head's branch has not convicted. In an open model only
    /// authors of held contributions matter, because their work might count. Every node keeps a conviction for ever, and
    /// thousands of identities are not worth it.
    pub fn proofs_to_carry(&self, rules: &Rules) -> Vec<ProofId> {
        let authors: Vec<_> = if rules.is_list {
            self.proofs.proved.keys().collect()
        } else {
            self.ballots.all_authors().collect()
        };
        let open = authors.into_iter().filter(|author| !self.head_convicted(author));
        let proofs = open.filter_map(|author| self.proofs.proved.get(author).copied());
        let mut proofs: Vec<_> = proofs.take(PROOFS_PER_SEAL_MAX).collect();
        proofs.sort_unstable();
        proofs
    }
}
