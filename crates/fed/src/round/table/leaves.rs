//! The leaves of the tree (the ends of its branches), in the order of heads, and the leaves for which there is work.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use crate::id::CheckpointId;
use crate::round::table::rank::Rank;

/// The place of a checkpoint in the sets of [`Leaves`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::round) struct Filed {
    pub rank: Rank,
    pub leaf: bool,
    /// True if the weights of the checkpoint are here and right.
    pub verified: bool,
    /// True for a leaf that was looked at: the work to make it the head is under way, or nothing can be done for it now.
    pub seen: bool,
    /// True for a leaf whose next step can be computed once no other step is computed.
    pub ready: bool,
}

/// The candidates without candidate children, and the verified checkpoints, in the order of [`Rank`].
#[derive(Debug, Default)]
pub(in crate::round) struct Leaves {
    all: BTreeSet<Rank>,
    verified: BTreeSet<Rank>,
    seen: BTreeSet<Rank>,
    unseen: BTreeSet<Rank>,
    ready: BTreeSet<Rank>,
    /// Checkpoints that were looked at and are leaves no more.
    left: Vec<CheckpointId>,
}

impl Leaves {
    /// Files a checkpoint anew after a change from `old` to `now`.
    pub fn refile(&mut self, old: Option<Filed>, now: Filed) {
        if let Some(old) = old {
            self.remove(&old);
            if old.seen && !now.leaf {
                self.left.push(now.rank.id.0);
            }
        }
        let sets = [
            (&mut self.all, now.leaf),
            (&mut self.verified, now.verified),
            (&mut self.seen, now.seen),
            (&mut self.unseen, now.leaf && !now.seen),
            (&mut self.ready, now.ready),
        ];
        for (set, _) in sets.into_iter().filter(|(_, belongs)| *belongs) {
            set.insert(now.rank);
        }
    }

    /// Takes a checkpoint out of all sets.
    pub fn remove(&mut self, old: &Filed) {
        for set in [
            &mut self.all,
            &mut self.verified,
            &mut self.seen,
            &mut self.unseen,
            &mut self.ready,
        ] {
            set.remove(&old.rank);
        }
    }

    /// All leaves, the greatest first.
    pub fn all(&self) -> impl Iterator<Item = &Rank> {
        self.all.iter().rev()
    }

    /// The greatest verified checkpoint, which is the head. A child ranks above its parent, so no verified
    /// checkpoint on the way to any leaf is greater.
    pub fn best_verified(&self) -> Option<Rank> {
        self.verified.last().copied()
    }

    /// The leaves above `best` that were not looked at, the greatest first.
    pub fn unseen_above(&self, best: Option<Rank>) -> Vec<Rank> {
        let above = (best.map_or(Unbounded, Excluded), Unbounded);
        self.unseen.range(above).rev().copied().collect()
    }

    /// The greatest leaf above `best` whose next step can be computed.
    pub fn next_ready(&self, best: Option<Rank>) -> Option<Rank> {
        self.ready
            .last()
            .copied()
            .filter(|rank| best.is_none_or(|best| *rank > best))
    }

    /// The leaves that were looked at and rank no higher than `best`.
    pub fn seen_up_to(&self, best: Option<Rank>) -> Vec<CheckpointId> {
        let Some(best) = best else { return vec![] };
        self.seen.range(..=best).map(|rank| rank.id.0).collect()
    }

    pub fn all_seen(&self) -> Vec<CheckpointId> {
        self.seen.iter().map(|rank| rank.id.0).collect()
    }

    /// Takes out the checkpoints that were looked at and are leaves no more, since the last call.
    pub fn take_left(&mut self) -> Vec<CheckpointId> {
        std::mem::take(&mut self.left)
    }
}
