//! Blobs over `/qres/blob/10`.

use std::sync::Arc;

use qres_fed::id::{BlobId, NodeId, SpecId};
use tokio::sync::mpsc;

use super::Library;
use crate::mesh::Mesh;
use crate::store::Blobs;

/// A blob to fetch.
#[derive(Debug, Clone)]
pub struct Want {
    /// The model it belongs to: who may read it follows from that.
    pub spec: SpecId,
    /// Which.
    pub blob: BlobId,
    /// Its length, where a record names it: another length is refused before a byte moves.
    pub bytes: Option<u64>,
    /// No longer than this, whatever a holder says.
    pub bytes_max: u64,
    /// Who should have it; then everyone connected.
    pub holders: Vec<NodeId>,
    /// Trace context of whoever wants it.
    pub traceparent: Option<String>,
}

/// What became of a want.
#[derive(Debug, Clone)]
pub enum DownloadEvent {
    /// The blob is in the store (its digest is right).
    Here {
        /// The model.
        spec: SpecId,
        /// Which.
        blob: BlobId,
        /// From whom the last of it came.
        from: NodeId,
    },
}

/// Fetches blobs, each at most once at a time, from any holder, verified segment by segment while they arrive, resumed after
/// a break, for ever until it is here or no longer wanted. Cheap to clone.
#[derive(Clone)]
pub struct Downloads {}

#[allow(unused_variables, missing_docs)]
impl Downloads {
    /// Starts the manager.
    pub fn start(mesh: Mesh, blobs: Blobs) -> (Self, mpsc::Receiver<DownloadEvent>) {
        todo!()
    }
    /// Wants a blob; a second want of the same blob adds its holders.
    pub fn want(&self, want: Want) {
        todo!()
    }
    /// No longer wanted.
    pub fn cancel(&self, blob: BlobId) {
        todo!()
    }
    /// A peer has come or has something new: try waiting downloads now rather than after their backoff.
    pub fn nudge(&self, peer: NodeId) {
        todo!()
    }
}

/// Serves blobs until the mesh stops.
#[allow(clippy::unused_async)]
pub async fn serve_blobs(_mesh: Mesh, _blobs: Blobs, _library: Arc<dyn Library>) {
    todo!()
}
