//! Consents: the signed statements by which members change who the members of a model are.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Authored, Canonical, MEMBERS_MAX, Membership, Rule, Spec};
use crate::aggregation::{Aggregation, defaults};
use crate::id::{BlobId, CheckpointId, ConsentId, NodeId, SpecId};
use crate::{privacy, strategy};

#[cfg(test)]
mod tests;

/// Largest number of nodes that one change adds and removes. With it a consent stays below the mesh's 64 KiB envelope.
pub const CHANGE_MAX: usize = 64;

/// A change of a model's members, as one of them proposes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Change {
    /// The member that proposes the change. It signs the successor's spec.
    pub proposer: NodeId,
    /// Nodes that become members.
    pub add: BTreeSet<NodeId>,
    /// Members that are members no longer.
    pub remove: BTreeSet<NodeId>,
}

/// The checkpoint with which a member wants to end the old model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Handover {
    /// The round of the checkpoint.
    pub round: u64,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// False while the member only says where it stands; true once it saw that a quorum stands there, and binds itself.
    pub bound: bool,
}

/// A member's agreement to a [`Change`], or its withdrawal. The newest consent of a member counts.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Consent {
    /// The spec of the model whose members change.
    pub spec: SpecId,
    /// The member that signs.
    pub author: NodeId,
    /// Orders the consents of one author: the highest number counts.
    pub number: u64,
    /// The change that the author agrees to; `None` if it agrees to none.
    pub change: Option<Change>,
    /// The checkpoint to end with; set once a quorum agreed to the change.
    pub handover: Option<Handover>,
}

/// Reason why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChangeError(String);

impl Canonical for Consent {
    const TAG: &'static str = "qres/consent/1\n";
}

impl Authored for Consent {
    fn author(&self) -> NodeId {
        self.author
    }
}

impl Consent {
    /// Returns the [`ConsentId`]: the BLAKE3 of the canonical bytes.
    pub fn id(&self) -> ConsentId {
        ConsentId::of(&self.to_canonical())
    }

    /// Checks that a member of `spec` may sign this consent. It is a function of the consent and the spec alone.
    pub fn check(&self, spec: &Spec) -> Result<(), ChangeError> {
        let Membership::List(members) = &spec.membership else {
            return Err(ChangeError("an open model has no list of members".into()));
        };
        if !members.contains(&self.author) {
            return Err(ChangeError(format!("{} is no member of the model", self.author)));
        }
        match (&self.change, &self.handover) {
            (None, Some(_)) => Err(ChangeError("a handover belongs to a change".into())),
            (None, None) => Ok(()),
            (Some(change), _) => change.members(spec).map(|_| ()),
        }
    }
}

/// Returns k of the model with `n` members.
fn k_after(spec: &Spec, n: usize) -> u32 {
    let (k, n) = (spec.rounds.min_contributions, u32::try_from(n).unwrap_or(u32::MAX));
    match k as usize == spec.quorum() {
        true => n / 2 + 1,
        false => k.min(n),
    }
}

/// Returns the aggregation rules of the model with `n` members.
fn rules_after(spec: &Spec, n: usize) -> Vec<Rule> {
    let default = defaults::rules(spec.membership.authors_max(), spec.rounds.min_contributions as usize);
    // q-FedAvg combines the updates itself, and the sum of a round has the distributed noise.
    let combined = strategy::fairness(&spec.strategy).is_some() || privacy::is_distributed(&spec.privacy);
    match spec.aggregation == default && !combined {
        true => defaults::rules(n, k_after(spec, n) as usize),
        false => spec.aggregation.clone(),
    }
}

impl Change {
    /// Returns the members after the change. The error says why the change does not fit the members of `spec`.
    pub fn members(&self, spec: &Spec) -> Result<BTreeSet<NodeId>, ChangeError> {
        let fail = |problem: String| Err(ChangeError(problem));
        let Membership::List(members) = &spec.membership else {
            return fail("an open model has no list of members: every node may contribute".into());
        };
        if !members.contains(&self.proposer) {
            return fail(format!("the proposer {} is no member of the model", self.proposer));
        }
        let count = self.add.len() + self.remove.len();
        if count == 0 || count > CHANGE_MAX {
            return fail(format!("{count} nodes are named, a change has 1 to {CHANGE_MAX}"));
        }
        if let Some(node) = self.add.iter().find(|node| members.contains(node)) {
            return fail(format!("{node} is a member already"));
        }
        if let Some(node) = self.remove.iter().find(|node| !members.contains(node)) {
            return fail(format!("{node} is no member, so it cannot be removed"));
        }
        let after: BTreeSet<_> = members.difference(&self.remove).chain(&self.add).copied().collect();
        if after.is_empty() || after.len() > MEMBERS_MAX {
            return fail(format!(
                "the model would have {} members, a list has 1 to {MEMBERS_MAX}",
                after.len()
            ));
        }
        if self.remove.contains(&self.proposer) {
            return fail("a member that goes cannot make the successor: let another member propose the change".into());
        }
        let k = k_after(spec, after.len()) as usize;
        match Aggregation::new(&rules_after(spec, after.len()), k, after.len()) {
            Err(error) => fail(format!("the model's rules do not work with these members: {error}")),
            Ok(rules) if rules.trusts_creator() && self.proposer != spec.creator => fail(
                "the aggregation trusts the creator of the model, who must propose the change: the proposer becomes the creator"
                    .into(),
            ),
            Ok(_) => Ok(after),
        }
    }

    /// Returns the spec that succeeds `spec` if this change is made and the model ends in this round with these weights. Every node makes the
    /// same spec.
    ///
    /// A k that was the majority becomes the majority of the new members. Another k, and the target, stay, or become the number
    /// of members if that is less. Aggregation rules and a limit on shares that were the defaults of the list become those of
    /// the new list; others stay.
    pub fn successor(&self, spec: &Spec, round: u64, weights: BlobId) -> Result<Spec, ChangeError> {
        let members = self.members(spec)?;
        let n = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let mut rounds = spec.rounds.clone();
        rounds.min_contributions = k_after(spec, members.len());
        let mut strategy = spec.strategy.clone();
        let limit = strategy::max_share(&strategy);
        if limit == defaults::max_share(spec.membership.authors_max()) {
            strategy::set_max_share(&mut strategy, defaults::max_share(members.len()));
        }
        // The rounds of a buffered strategy close with k contributions.
        let buffered = strategy::is_buffered(&strategy) && rounds.target == Some(spec.rounds.min_contributions);
        rounds.target = match rounds.target {
            Some(_) if buffered => Some(rounds.min_contributions),
            target => target.map(|target| target.clamp(rounds.min_contributions, n)),
        };
        Ok(Spec {
            aggregation: rules_after(spec, members.len()),
            membership: Membership::List(members),
            strategy,
            rounds,
            checkpoint0: weights,
            creator: self.proposer,
            succeeds: Some(spec.id()),
            earlier_rounds: spec.earlier_rounds.saturating_add(round),
            ..spec.clone()
        })
    }
}
