//! The checkpoints that other members say they stand on.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{CheckpointId, NodeId};

/// The checkpoints that other members say they stand on.
#[derive(Debug, Default)]
pub(in crate::round) struct Claims {
    pub heads: BTreeMap<NodeId, CheckpointId>,
    by_head: BTreeMap<CheckpointId, BTreeSet<NodeId>>,
}

impl Claims {
    /// Notes the checkpoint that a member stands on. Returns the one it stood on before.
    pub fn insert(&mut self, by: NodeId, head: CheckpointId) -> Option<CheckpointId> {
        let before = self.heads.insert(by, head);
        if let Some(old) = before
            && let Some(those) = self.by_head.get_mut(&old)
        {
            those.remove(&by);
            if those.is_empty() {
                self.by_head.remove(&old);
            }
        }
        self.by_head.entry(head).or_default().insert(by);
        before
    }

    /// Returns true if a node other than `sealer` stands on the checkpoint.
    pub fn by_others(&self, checkpoint: &CheckpointId, sealer: &NodeId) -> bool {
        let mut those = self.by_head.get(checkpoint).into_iter().flatten();
        those.any(|by| by != sealer)
    }
}
