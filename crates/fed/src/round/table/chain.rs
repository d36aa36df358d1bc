//! The head's branch, by round.

use std::collections::VecDeque;

use crate::id::CheckpointId;
use crate::round::table::tree::Tree;

/// The ids on the head's branch, from the root up to the head.
#[derive(Debug)]
pub(in crate::round) struct Chain {
    /// The round of the first id, which is the root.
    first: u64,
    /// The ids, the root first; never empty.
    ids: VecDeque<CheckpointId>,
}

impl Chain {
    pub fn new(root: CheckpointId, round: u64) -> Self {
        Self {
            first: round,
            ids: VecDeque::from([root]),
        }
    }

    pub fn head(&self) -> CheckpointId {
        self.ids[self.ids.len() - 1]
    }

    pub fn round(&self) -> u64 {
        self.first + self.ids.len() as u64 - 1
    }

    /// The round of the root.
    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn at(&self, round: u64) -> Option<CheckpointId> {
        let index = round.checked_sub(self.first)?;
        self.ids.get(usize::try_from(index).ok()?).copied()
    }

    /// Makes the root's child on this branch the root, if there is such a child.
    pub fn forget_first(&mut self) {
        if self.ids.len() > 1 {
            self.ids.pop_front();
            self.first += 1;
        }
    }

    /// Makes the root's parent `id` the root.
    pub fn put_first(&mut self, id: CheckpointId) {
        self.ids.push_front(id);
        self.first -= 1;
    }

    pub fn contains(&self, round: u64, id: &CheckpointId) -> bool {
        self.at(round).as_ref() == Some(id)
    }

    /// Moves to `head`. Walks through the [`Tree`] from `head` back to the checkpoint where the branches part, and no further.
    pub fn stand_on(&mut self, head: &CheckpointId, tree: &Tree) {
        let mut path = vec![];
        let mut at = tree.get(head);
        while let Some(node) = at {
            if self.contains(node.round, &node.id) {
                let kept = node.round - self.first + 1;
                self.ids.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                break;
            }
            path.push(node.id);
            at = node.parent.and_then(|p| tree.get(&p));
        }
        self.ids.extend(path.into_iter().rev());
    }
}
