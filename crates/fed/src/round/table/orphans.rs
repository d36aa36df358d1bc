//! Orphans: records that name a record that is not known here yet. They are kept
//! within bounds and taken up when that record comes.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CheckpointId, ContributionId, NodeId, ProofId, SealId};
use crate::record::{Contribution, Seal, Signed};

/// Maximum number of orphans of each kind per author. A sync delivers parents first, so few are needed.
const ORPHANS_PER_AUTHOR_MAX: usize = 64;
/// Maximum number of orphans of each kind in all, because an open model has any number of authors. A contribution takes about
/// 0.3 KiB, so all of them 1 MiB. A seal of 512 fresh and 512 late contributions takes 32 KiB, so 4,096 of the longest would
/// take 128 MiB; typical ones take 2 MiB.
const ORPHANS_MAX: usize = 4_096;

/// The record that an orphan seal waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::round) enum Missing {
    Parent(CheckpointId),
    Proof(ProofId),
}

/// The orphans: contributions, and seals with what is [`Missing`]. They are neither durable nor spread,
/// because any node that has the parent has them too.
#[derive(Debug, Default)]
pub(in crate::round) struct Orphans {
    contributions: BTreeMap<ContributionId, Signed<Contribution>>,
    contributions_on: BTreeMap<CheckpointId, BTreeSet<ContributionId>>,
    seals: BTreeMap<SealId, (Missing, Signed<Seal>)>,
    seals_for: BTreeMap<Missing, BTreeSet<SealId>>,
    /// Number of orphan seals that name each proof.
    proofs: BTreeMap<ProofId, usize>,
    /// Proofs that no orphan seal names any more.
    released: Vec<ProofId>,
    count: BTreeMap<(bool, NodeId), usize>,
    rounds: BTreeSet<(bool, u64, [u8; 32])>,
}

impl Orphans {
    pub fn has_contribution(&self, id: &ContributionId) -> bool {
        self.contributions.contains_key(id)
    }

    pub fn has_seal(&self, id: &SealId) -> bool {
        self.seals.contains_key(id)
    }

    /// Keeps a contribution whose parent is unknown. Beyond a limit, the orphan that is furthest in the future goes first.
    /// Returns true if the contribution is kept.
    pub fn add_contribution(&mut self, id: ContributionId, signed: Signed<Contribution>) -> bool {
        let c = &signed.record;
        if !self.make_room(true, c.author, c.round) {
            return false;
        }
        *self.count.entry((true, c.author)).or_default() += 1;
        self.rounds.insert((true, c.round, id.0));
        self.contributions_on.entry(c.parent).or_default().insert(id);
        self.contributions.insert(id, signed);
        true
    }

    /// Keeps a seal that names an unknown record. Returns true if the seal is kept.
    pub fn add_seal(&mut self, id: SealId, missing: Missing, signed: Signed<Seal>) -> bool {
        let s = &signed.record;
        if !self.make_room(false, s.sealer, s.round) {
            return false;
        }
        *self.count.entry((false, s.sealer)).or_default() += 1;
        self.rounds.insert((false, s.round, id.0));
        self.seals_for.entry(missing).or_default().insert(id);
        for proof in &s.proofs {
            *self.proofs.entry(*proof).or_default() += 1;
        }
        self.seals.insert(id, (missing, signed));
        true
    }

    fn make_room(&mut self, contribution: bool, author: NodeId, round: u64) -> bool {
        if self.count.get(&(contribution, author)).copied().unwrap_or(0) >= ORPHANS_PER_AUTHOR_MAX {
            return false;
        }
        let held = if contribution {
            self.contributions.len()
        } else {
            self.seals.len()
        };
        if held < ORPHANS_MAX {
            return true;
        }
        let range = (contribution, 0, [0; 32])..=(contribution, u64::MAX, [0xff; 32]);
        let Some(&(_, last, id)) = self.rounds.range(range).next_back() else {
            return false;
        };
        if last <= round {
            return false;
        }
        if contribution {
            self.take_contribution(&ContributionId(id));
        } else {
            self.take_seal(&SealId(id));
        }
        true
    }

    /// Takes one contribution out.
    pub fn take_contribution(&mut self, id: &ContributionId) -> Option<Signed<Contribution>> {
        let signed = self.contributions.remove(id)?;
        let c = &signed.record;
        self.forget(true, c.author, c.round, id.0);
        if let Some(ids) = self.contributions_on.get_mut(&c.parent) {
            ids.remove(id);
            if ids.is_empty() {
                self.contributions_on.remove(&c.parent);
            }
        }
        Some(signed)
    }

    /// Takes one seal out.
    pub fn take_seal(&mut self, id: &SealId) -> Option<Signed<Seal>> {
        let (missing, signed) = self.seals.remove(id)?;
        self.forget(false, signed.record.sealer, signed.record.round, id.0);
        for proof in &signed.record.proofs {
            if let Some(count) = self.proofs.get_mut(proof) {
                *count -= 1;
                if *count == 0 {
                    self.proofs.remove(proof);
                    self.released.push(*proof);
                }
            }
        }
        if let Some(ids) = self.seals_for.get_mut(&missing) {
            ids.remove(id);
            if ids.is_empty() {
                self.seals_for.remove(&missing);
            }
        }
        Some(signed)
    }

    fn forget(&mut self, contribution: bool, author: NodeId, round: u64, id: [u8; 32]) {
        self.rounds.remove(&(contribution, round, id));
        if let Some(count) = self.count.get_mut(&(contribution, author)) {
            *count -= 1;
            if *count == 0 {
                self.count.remove(&(contribution, author));
            }
        }
    }

    /// The contributions that wait for this checkpoint.
    pub fn contributions_on(&self, parent: &CheckpointId) -> impl Iterator<Item = &Signed<Contribution>> {
        let ids = self.contributions_on.get(parent);
        ids.into_iter().flatten().filter_map(|id| self.contributions.get(id))
    }

    /// Ids of the contributions that wait for this checkpoint.
    pub fn ids_on(&self, parent: &CheckpointId) -> Vec<ContributionId> {
        let ids = self.contributions_on.get(parent);
        ids.into_iter().flatten().copied().collect()
    }

    /// The seals that wait for the record `missing`.
    pub fn seals_for(&self, missing: Missing) -> impl Iterator<Item = &Signed<Seal>> {
        let ids = self.seals_for.get(&missing);
        ids.into_iter().flatten().filter_map(|id| Some(&self.seals.get(id)?.1))
    }

    /// Ids of the seals that wait for the record `missing`.
    pub fn seal_ids_for(&self, missing: Missing) -> Vec<SealId> {
        let ids = self.seals_for.get(&missing);
        ids.into_iter().flatten().copied().collect()
    }

    /// Returns true if an orphan seal names this proof, as the one that it waits for or as another.
    pub fn names_proof(&self, id: &ProofId) -> bool {
        self.proofs.contains_key(id)
    }

    /// Takes out the proofs that no orphan seal names any more, since the last call.
    pub fn take_released(&mut self) -> Vec<ProofId> {
        std::mem::take(&mut self.released)
    }

    /// Forgets the orphans of this round and of all earlier ones.
    pub fn forget_through(&mut self, round: u64) {
        for contribution in [true, false] {
            let range = (contribution, 0, [0; 32])..=(contribution, round, [0xff; 32]);
            let old: Vec<_> = self.rounds.range(range).map(|(.., id)| *id).collect();
            for id in old {
                if contribution {
                    self.take_contribution(&ContributionId(id));
                } else {
                    self.take_seal(&SealId(id));
                }
            }
        }
    }
}
