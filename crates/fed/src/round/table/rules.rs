//! The rules of a model: its spec with what follows from it, and this node's own settings.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::codec::{Codec, fidelity_min};
use crate::id::{CheckpointId, ContributionId, NodeId, SpecId};
use crate::privacy;
use crate::record::{Contribution, Membership, PROOFS_PER_SEAL_MAX, SAMPLES_MAX, Seal, Spec};
use crate::round::Config;
use crate::strategy;

/// Number of nodes of an open model to compare with. An open model has no quorum, and a
/// second node may have heard what the first has not.
const OPEN_NEEDED: usize = 2;

fn ascends<T: Ord>(ids: &[T]) -> bool {
    ids.windows(2).all(|pair| pair[0] < pair[1])
}

/// The rules of one model on one node. None of them ever changes.
#[derive(Debug)]
pub(in crate::round) struct Rules {
    pub spec: Spec,
    pub spec_id: SpecId,
    /// Lengths in bytes that spec and codec allow for an update. `None` if the codec is unknown here.
    pub update_bytes: Option<RangeInclusive<u64>>,
    /// True if the strategy has a server optimiser, whose state is then a part of every checkpoint but the first.
    pub has_optimiser: bool,
    pub zero: CheckpointId,
    pub config: Config,
    pub is_member: bool,
    pub is_list: bool,
    pub k: usize,
    pub quorum: usize,
}

impl Rules {
    pub fn new(spec: Spec, config: Config) -> Self {
        let codec = Codec::of(&spec.codec).ok();
        Self {
            spec_id: spec.id(),
            update_bytes: codec.map(|codec| codec.lengths(&spec.tensors)),
            has_optimiser: strategy::optimiser(&spec.strategy).is_some(),
            zero: spec.zero().0,
            is_member: spec.admits(&config.node),
            is_list: matches!(spec.membership, Membership::List(_)),
            k: spec.rounds.min_contributions as usize,
            quorum: spec.quorum(),
            spec,
            config,
        }
    }

    /// The members of a list; `None` in an open model.
    pub fn members(&self) -> Option<&BTreeSet<NodeId>> {
        match &self.spec.membership {
            Membership::List(members) => Some(members),
            Membership::Open => None,
        }
    }

    /// Number of rounds below the horizon whose seals stay in memory. With them a seal above the horizon can be checked for
    /// contributions that its branch lists already.
    pub fn rounds_below_horizon(&self) -> u64 {
        u64::from(self.spec.rounds.max_staleness) + 1
    }

    /// Returns the fault that makes a contribution invalid for every receiver, independent of what the receiver knows.
    pub fn contribution_fault(&self, c: &Contribution) -> Option<String> {
        let least = fidelity_min(&self.spec.codec);
        if c.spec != self.spec_id {
            Some(format!("spec {} is not this model's", c.spec))
        } else if !self.spec.admits(&c.author) {
            Some("its author is no member of the model".into())
        } else if !(1..=SAMPLES_MAX).contains(&c.samples) {
            Some(format!("{} samples are outside 1 to {SAMPLES_MAX}", c.samples))
        } else if !(least..=1.0).contains(&c.fidelity) {
            Some(format!("fidelity {} is outside {least} to 1", c.fidelity))
        } else if self
            .update_bytes
            .as_ref()
            .is_some_and(|bytes| !bytes.contains(&c.update_bytes))
        {
            Some(format!(
                "an update of {} bytes: the model's have another length",
                c.update_bytes
            ))
        } else if let Some(fault) = strategy::report_fault(&self.spec, &c.report) {
            Some(fault)
        } else if let Some(fault) = privacy::contribution_fault(&self.spec, c.samples, c.releases) {
            Some(fault)
        } else if c.round == 0 {
            Some("round 0 takes no contributions".into())
        } else {
            let bad = c.source.filter(|source| source.saturating_add(1) >= c.round);
            bad.map(|source| format!("its vote's source, round {source}, is not below the parent's round"))
        }
    }

    /// Returns the fault that makes a seal invalid for every receiver, independent of what the receiver knows.
    pub fn seal_fault(&self, seal: &Seal) -> Option<String> {
        let (fresh, late, proofs) = (seal.fresh.len(), seal.late.len(), seal.proofs.len());
        // At most one contribution of each kind per member.
        let most = self.spec.membership.authors_max();
        if seal.spec != self.spec_id {
            Some(format!("spec {} is not this model's", seal.spec))
        } else if !self.spec.admits(&seal.sealer) {
            Some("its sealer is no member of the model".into())
        } else if !(ascends(&seal.fresh) && ascends(&seal.late) && ascends(&seal.proofs)) {
            Some("its lists do not ascend".into())
        } else if seal.late.iter().any(|id| seal.fresh.binary_search(id).is_ok()) {
            Some("lists one contribution as fresh and as late".into())
        } else if fresh < self.k {
            Some(format!(
                "lists {fresh} fresh contributions, the spec asks for {}",
                self.k
            ))
        } else if fresh > most || late > most || proofs > PROOFS_PER_SEAL_MAX {
            Some(format!(
                "lists more than {most} contributions of a kind or {PROOFS_PER_SEAL_MAX} proofs"
            ))
        } else if late > 0 && self.spec.rounds.max_staleness == 0 {
            Some("lists late contributions, the spec takes none".into())
        } else if seal.round == 0 {
            Some("round 0 is not sealed".into())
        } else if seal.result.optimiser.is_some() != self.has_optimiser {
            Some(match self.has_optimiser {
                true => "names no state of the optimiser that the strategy has".into(),
                false => "names a state of an optimiser, the strategy has none".into(),
            })
        } else {
            None
        }
    }

    /// Returns the reason why a seal may not list this contribution where it does; a function of the two records alone.
    pub fn listing_fault(&self, seal: &Seal, id: &ContributionId, c: &Contribution) -> Option<String> {
        if seal.fresh.binary_search(id).is_ok() {
            let fits = c.parent == seal.parent && c.round == seal.round;
            return (!fits).then(|| format!("contribution {id} is not on its parent"));
        }
        let staleness = u64::from(self.spec.rounds.max_staleness);
        let behind = seal.round.saturating_sub(c.round);
        let fits = c.parent != seal.parent && (1..=staleness).contains(&behind);
        (!fits).then(|| format!("contribution {id} is {behind} rounds behind, 1 to {staleness} are taken"))
    }

    /// Number of other nodes that this node compares its records with before it signs.
    pub fn to_compare(&self) -> usize {
        match (self.is_list, self.is_member) {
            (_, false) => 0,
            (true, true) => self.quorum.saturating_sub(1),
            (false, true) => OPEN_NEEDED,
        }
    }
}
