//! The room for seals that no other node names: where a seal counts, what it displaces, and what is too much.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::CheckpointId;
use crate::record::Seal;
use crate::round::machine::Machine;
use crate::round::table::shares::Place;

/// Number of invalid seals of one sealer above the horizon at which its further
/// seals are ignored, unless another node names them.
const REFUTED_MAX: usize = 4;
/// Maximum number of checkpoints of unknown contributions held in all, unless a quorum vouches for a chain that long. A
/// newcomer has only the chain of seals for the rounds below the others' horizon; 32,768 seals take about 32 MiB.
const INCOMPLETE_MAX: usize = 32_768;
/// Minimum share of one sealer in [`INCOMPLETE_MAX`].
const INCOMPLETE_PER_SEALER_MIN: usize = 64;
/// Number of shares in an open model, which cannot tell how many nodes seal in it.
const INCOMPLETE_SHARES_OPEN: usize = 8;

impl Machine {
    /// The [`Place`] of a seal that is not held yet.
    fn place_for(&self, seal: &Seal, checkpoint: CheckpointId) -> Place {
        Place {
            parent: seal.parent,
            round: seal.round,
            sealers: BTreeSet::from([seal.sealer]),
            order: (self.history.is_checkable(seal), seal.fresh.len(), Reverse(checkpoint)),
        }
    }

    /// The [`Place`] of a held checkpoint; `None` on the head's branch, and for this node's own. In a list a checkpoint belongs
    /// to the member whose seal came first.
    pub(in crate::round) fn place_of(&self, checkpoint: &CheckpointId) -> Option<Place> {
        let node = self.history.tree.get(checkpoint)?;
        let parent = node.parent?;
        let mut sealers = self.history.sealers_of(node);
        if self.rules.is_list {
            sealers = BTreeSet::from([self.history.seal_of(node)?.sealer]);
        }
        let free = self.history.chain.contains(node.round, &node.id) || sealers.contains(&self.rules.config.node);
        let place = Place {
            parent,
            round: node.round,
            sealers,
            order: (node.missing == 0, node.fresh, Reverse(node.id)),
        };
        (!free).then_some(place)
    }

    /// Returns true if a seal may be held. Of the unnamed seals those within the shares stay, so that the seals that every node
    /// keeps do not depend on the order of arrival. A named seal always may be held, and displaces none: a name can be lost
    /// again, and the two would displace each other at every sync.
    pub(in crate::round) fn has_room_for_seal(&mut self, seal: &Seal, checkpoint: &CheckpointId) -> bool {
        self.displaced_by_seal(seal, checkpoint).is_some()
    }

    /// Drops the checkpoints that a seal displaces if it may be held. Returns true if it may.
    pub(in crate::round) fn make_room_for(&mut self, seal: &Seal, checkpoint: &CheckpointId) -> bool {
        let Some(displaced) = self.displaced_by_seal(seal, checkpoint) else {
            return false;
        };
        for id in displaced {
            self.drop_branch(&id);
        }
        true
    }

    fn displaced_by_seal(&mut self, seal: &Seal, checkpoint: &CheckpointId) -> Option<Vec<CheckpointId>> {
        // No limit applies: the store held the seal, it is this node's own, or others name it.
        if self.intake.restoring || seal.sealer == self.rules.config.node || self.is_named(checkpoint, &seal.sealer) {
            return Some(vec![]);
        }
        let refuted = self.history.refuted.get(&seal.sealer).map_or(0, BTreeMap::len);
        if refuted >= REFUTED_MAX || !self.has_room_for_incomplete(seal) {
            return None;
        }
        let place = self.place_for(seal, *checkpoint);
        self.intake.shares.displaced_by(&place)
    }

    /// Returns true if there is room for a seal among those that cannot be checked yet. A seal of known contributions needs no
    /// such room, so a flood of unknown ones keeps out no node that goes on with the round.
    fn has_room_for_incomplete(&self, seal: &Seal) -> bool {
        let vouched = self.search.attested.is_some_and(|(round, _)| seal.round <= round);
        if vouched || self.history.is_checkable(seal) {
            return true;
        }
        let shares = self.rules.members().map_or(INCOMPLETE_SHARES_OPEN, BTreeSet::len);
        let share = (INCOMPLETE_MAX / shares.max(1)).max(INCOMPLETE_PER_SEALER_MIN);
        self.intake.shares.incomplete.of(&seal.sealer) < share && self.intake.shares.incomplete.all < INCOMPLETE_MAX
    }

    /// Drops the checkpoints that are too much in the shares of this checkpoint.
    pub(in crate::round) fn trim_shares(&mut self, checkpoint: &CheckpointId) {
        let Some(place) = self.place_of(checkpoint) else {
            return;
        };
        while let Some(id) = self.intake.shares.excess(&place) {
            self.drop_branch(&id);
        }
    }

    /// Files a checkpoint anew, because the contributions that it lists have come, or another node sealed it too.
    pub(in crate::round) fn refile(&mut self, checkpoint: &CheckpointId) {
        if self.intake.shares.has(checkpoint) {
            self.intake.shares.unfile(checkpoint);
            if let Some(place) = self.place_of(checkpoint) {
                self.intake.shares.file(place);
            }
        }
    }
}
