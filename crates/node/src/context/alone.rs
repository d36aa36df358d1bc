//! While another process runs with this node's identity, this process signs nothing: the two would sign two contributions on
//! one parent, which convicts the member for good.

use crate::context::NodeContext;
use crate::error::{NodeError, Reason};

/// Time until a new attempt makes sense, in ms: the mesh waits for three heartbeat periods of silence, 15 s in a small swarm.
const AGAIN_MS: u64 = 15_000;

impl NodeContext {
    /// Refuses a trainer's work with [`Reason::IdentityInUse`] while another process has this node's identity.
    pub fn refuse_if_not_alone(&self) -> Result<(), NodeError> {
        let twin = self.mesh.twin().borrow().clone();
        twin.map_or(Ok(()), |twin| {
            let refusal = NodeError::new(Reason::IdentityInUse, twin.to_string());
            Err(refusal.retry_after(AGAIN_MS))
        })
    }

    /// Returns true if no other process has this node's identity.
    pub fn is_alone(&self) -> bool {
        self.mesh.twin().borrow().is_none()
    }

    /// Waits until no other process has this node's identity.
    pub async fn alone(&self) {
        // The wait fails only when the mesh has stopped: then nothing is sent either.
        drop(self.mesh.twin().wait_for(Option::is_none).await);
    }
}
