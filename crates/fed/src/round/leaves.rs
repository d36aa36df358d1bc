//! The ends of the branches, in the order of heads, and which of them there is something to do for.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use super::tree::Rank;
use crate::id::CheckpointId;

/// How a checkpoint is filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filed {
    pub rank: Rank,
    pub leaf: bool,
    /// Its weights are here and right.
    pub verified: bool,
    /// A leaf that was looked at: what would make it the head is under way, or nothing can be done for it now.
    pub seen: bool,
    /// One of those whose next step can be computed once no other one is.
    pub ready: bool,
}

/// Candidates without candidate children, and the verified checkpoints.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    all: BTreeSet<Rank>,
    verified: BTreeSet<Rank>,
    seen: BTreeSet<Rank>,
    unseen: BTreeSet<Rank>,
    ready: BTreeSet<Rank>,
    /// Those that were looked at and are leaves no more.
    left: Vec<CheckpointId>,
}

impl Leaves {
    /// Files a checkpoint anew.
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

    /// Takes a checkpoint out.
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

    /// The greatest first.
    pub fn all(&self) -> impl Iterator<Item = &Rank> {
        self.all.iter().rev()
    }

    /// The greatest verified checkpoint: the head. A child ranks above its parent, so none is greater on the way to any leaf.
    pub fn best_verified(&self) -> Option<Rank> {
        self.verified.last().copied()
    }

    /// Those above this one that were not looked at, the greatest first.
    pub fn unseen_above(&self, best: Option<Rank>) -> Vec<Rank> {
        let above = (best.map_or(Unbounded, Excluded), Unbounded);
        self.unseen.range(above).rev().copied().collect()
    }

    /// The greatest one above `best` whose next step can be computed.
    pub fn next_ready(&self, best: Option<Rank>) -> Option<Rank> {
        self.ready
            .last()
            .copied()
            .filter(|rank| best.is_none_or(|best| *rank > best))
    }

    /// Those that were looked at and stand no higher than this one.
    pub fn seen_up_to(&self, best: Option<Rank>) -> Vec<CheckpointId> {
        let Some(best) = best else { return vec![] };
        self.seen.range(..=best).map(|rank| rank.id.0).collect()
    }

    pub fn all_seen(&self) -> Vec<CheckpointId> {
        self.seen.iter().map(|rank| rank.id.0).collect()
    }

    /// Those that were looked at and are leaves no more, since this was asked last.
    pub fn take_left(&mut self) -> Vec<CheckpointId> {
        std::mem::take(&mut self.left)
    }
}
