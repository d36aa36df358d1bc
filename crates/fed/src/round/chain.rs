//! The head's branch, by round.

use super::tree::Tree;
use crate::id::CheckpointId;

/// The ids of the head's branch; index = round.
#[derive(Debug)]
pub(super) struct Chain {
    ids: Vec<CheckpointId>,
}

impl Chain {
    pub fn new(zero: CheckpointId) -> Self {
        Self { ids: vec![zero] }
    }

    pub fn head(&self) -> CheckpointId {
        // Checkpoint 0 is never taken out.
        self.ids[self.ids.len() - 1]
    }

    pub fn round(&self) -> u64 {
        self.ids.len() as u64 - 1
    }

    pub fn at(&self, round: u64) -> Option<CheckpointId> {
        self.ids.get(usize::try_from(round).ok()?).copied()
    }

    pub fn contains(&self, round: u64, id: &CheckpointId) -> bool {
        self.at(round).as_ref() == Some(id)
    }

    /// Stands on `head`: walks up only to where the branches part.
    pub fn stand_on(&mut self, head: &CheckpointId, tree: &Tree) {
        let mut path = vec![];
        let mut at = tree.get(head);
        while let Some(node) = at {
            if self.contains(node.round, &node.id) {
                self.ids.truncate(usize::try_from(node.round).unwrap_or(usize::MAX) + 1);
                break;
            }
            path.push(node.id);
            at = node.parent.and_then(|p| tree.get(&p));
        }
        self.ids.extend(path.into_iter().rev());
    }
}
