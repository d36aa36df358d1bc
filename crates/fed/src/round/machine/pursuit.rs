//! The moments when a leaf that would be the head is looked at again.

use crate::id::{BlobId, CheckpointId, ProposalId};
use crate::round::machine::Machine;
use crate::round::table::want::Want;

impl Machine {
    fn look_again(&mut self, leaves: &[CheckpointId]) {
        leaves
            .iter()
            .for_each(|leaf| self.history.tree.set_seen(leaf, false, false));
        self.dirty.head |= !leaves.is_empty();
    }

    /// Looks again at leaves that waited for this blob, which is here now.
    pub(in crate::round) fn pursued_came(&mut self, blob: &BlobId) {
        if self.fetching.pursuits.wants().contains_key(blob) {
            let leaves = self.fetching.pursuits.came(blob);
            self.look_again(&leaves);
            self.dirty.head = true;
        }
    }

    /// Lets the leaves for which this was the next step go on: the checkpoint is verified now, or can be computed now.
    pub(in crate::round) fn step_moved(&mut self, step: &CheckpointId) {
        let leaves = self.fetching.pursuits.at_step(step);
        self.look_again(&leaves);
    }

    /// Looks again at the leaves of a computation that ended, with or without a result, or that may be tried again.
    pub(in crate::round) fn job_moved(&mut self, id: &ProposalId) {
        let leaves = self.fetching.pursuits.on_proposal(id);
        self.look_again(&leaves);
    }

    /// Asks for a blob on behalf of the leaf that is looked at.
    pub(in crate::round) fn pursue_blob(&mut self, leaf: &CheckpointId, blob: BlobId, want: Want) {
        self.fetching.pursuits.add(leaf, blob, want);
    }
}
