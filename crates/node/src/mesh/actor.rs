//! The actor.

use tokio::sync::{mpsc, watch};

use super::{HeadClaim, Mesh, MeshConfig, MeshError, MeshEvent};
use crate::identity::Identity;

/// Starts the mesh: listens, dials the bootstrap addresses (for ever, with backoff), answers when it listens.
#[allow(clippy::unused_async)]
pub async fn start(
    _config: MeshConfig,
    _identity: &Identity,
    _heads: watch::Receiver<Vec<HeadClaim>>,
) -> Result<(Mesh, mpsc::Receiver<MeshEvent>), MeshError> {
    todo!()
}
