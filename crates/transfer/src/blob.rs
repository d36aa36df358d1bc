//! Blobs over `/qres/blob/10`.

mod assembly;
mod board;
#[doc(hidden)]
pub mod fuzzing;
pub(super) mod manager;
pub(crate) mod places;
mod pool;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use server::BlobServer;

use std::sync::Arc;

use libp2p::StreamProtocol;
use qres_fed::id::{BlobId, NodeId, SpecId};
use tokio::sync::mpsc;

use super::counters::TransferCounters;
use super::link::Pace;
use super::{Library, hash_of};
use manager::{Holders, Manager, Shared};
use qres_mesh::Mesh;
use qres_store::BlobStore;
use session::Depot;

/// The stream protocol.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/blob/10");
/// Longest request.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest answer, without the bytes that follow it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Segments that may be asked for at once.
const SEGMENTS_PER_ASK_MAX: usize = 64;
/// Finished downloads that wait for the engine; the next ones wait before they are told.
const EVENTS_MAX: usize = 64;

/// A blob to fetch.
#[derive(Debug, Clone)]
pub struct Want {
    /// The model it is for: who may read it follows from that, and nothing that another model holds is used.
    pub spec: SpecId,
    /// Which.
    pub blob: BlobId,
    /// Its length, where a record names it: another length is refused before a byte moves. Wants of one blob that name two
    /// lengths relax it (the digest alone decides), so whoever relies on a record's length compares it again.
    pub bytes: Option<u64>,
    /// No longer than this, whatever a holder says.
    pub bytes_max: u64,
    /// Who should have it; then everyone connected.
    pub holders: Vec<NodeId>,
    /// Who must have it, as the author of a contribution to the open round must: saying that it has not is withholding.
    pub owed_by: Option<NodeId>,
    /// Trace context of whoever wants it.
    pub traceparent: Option<String>,
}

/// What became of a want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadEvent {
    /// The blob is in the store (its digest is right).
    Here {
        /// The model.
        spec: SpecId,
        /// Which.
        blob: BlobId,
        /// From whom the last of it came; all zeros when it was in the store before.
        from: NodeId,
    },
}

/// Fetches blobs, each at most once at a time for a model, from any holder, verified segment by segment while they arrive, resumed after
/// a break, for ever until it is here or no longer wanted. Cheap to clone.
#[derive(Clone)]
pub struct Downloads {
    shared: Arc<Shared>,
    counters: Arc<TransferCounters>,
}

impl Downloads {
    /// Starts the manager.
    pub fn start(mesh: Mesh, store: BlobStore) -> (Self, mpsc::Receiver<DownloadEvent>) {
        Self::start_with(mesh, store, Pace::default())
    }

    pub(crate) fn start_with<H: Holders>(
        holders: H,
        store: BlobStore,
        pace: Pace,
    ) -> (Self, mpsc::Receiver<DownloadEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let downloads = Self {
            shared: Arc::default(),
            counters: Arc::default(),
        };
        let manager = Manager {
            shared: downloads.shared.clone(),
            holders,
            depot: Depot {
                store,
                assemblies: assembly::Assemblies::default(),
                counters: downloads.counters.clone(),
                changed: downloads.shared.changed.clone(),
            },
            pace,
            events,
            pool: pool::Pool::default(),
        };
        tokio::spawn(manager.run());
        (downloads, receiver)
    }

    /// Wants a blob; a second want of the same blob for the same model adds its holders. Never waits and is never lost: wants are kept on a board,
    /// one entry a model and blob, and their number is bounded by the records that name them.
    pub fn want(&self, want: Want) {
        self.shared.change(|board| board.want(want));
    }

    /// No longer wanted.
    pub fn cancel(&self, spec: SpecId, blob: BlobId) {
        self.shared.change(|board| board.cancel(spec, blob));
    }

    /// A peer has come or has something new: try waiting downloads now rather than after their backoff.
    pub fn nudge(&self, peer: NodeId) {
        self.shared.change(|board| board.nudge(&peer));
    }

    /// What has been received.
    pub fn counters(&self) -> Arc<TransferCounters> {
        self.counters.clone()
    }
}

/// Serves blobs until the mesh stops.
pub async fn serve_blobs(mesh: Mesh, store: BlobStore, library: Arc<dyn Library>) {
    BlobServer::new(store, library).run(mesh).await;
}
