//! Transfer of blobs over `/qres/blob/10`.

mod assembly;
#[doc(hidden)]
pub mod fuzzing;
pub(super) mod manager;
pub(crate) mod places;
mod pool;
mod scheduler;
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
use super::{ContentProvider, hash_of};
use manager::{Holders, Manager, Shared};
use qres_mesh::Mesh;
use qres_store::BlobStore;
use session::DownloadContext;

/// The stream protocol for blobs.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/blob/10");
/// Longest request frame, in bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest answer frame in bytes, without the raw bytes that follow it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Segments that one request may ask for.
const SEGMENTS_PER_ASK_MAX: usize = 64;
/// Events of finished downloads that may wait for the engine; the next event is sent when one of them has been taken.
const EVENTS_MAX: usize = 64;

/// A blob that this node is to fetch.
#[derive(Debug, Clone)]
pub struct DownloadRequest {
    /// The model that the blob is for: it decides which peers may read the blob, and a copy that another model holds is
    /// not used.
    pub spec: SpecId,
    /// Id of the blob, which is its digest.
    pub blob: BlobId,
    /// Length of the blob in bytes, if a record names it: an answer with another length is refused before a byte of the
    /// blob moves. Two wants of one blob that name two lengths relax this check (then the digest alone decides), so a
    /// caller that relies on a record's length compares it again.
    pub bytes: Option<u64>,
    /// Largest length in bytes that is accepted from a holder.
    pub bytes_max: u64,
    /// Peers that should have the blob; they are asked before the other connected peers.
    pub holders: Vec<NodeId>,
    /// The peer that must have the blob, as the author of a contribution to the open round must: if it answers repeatedly
    /// that it does not have the blob, that is withholding.
    pub owed_by: Option<NodeId>,
    /// Trace context of the caller that wants the blob.
    pub traceparent: Option<String>,
}

/// Result of a [`DownloadRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownloadEvent {
    /// The blob is in the store, and its digest is right.
    Here {
        /// The model that the blob is for.
        spec: SpecId,
        /// Id of the blob in the store.
        blob: BlobId,
        /// The peer that sent the last part of the blob; all zeros if the blob was in the store before.
        from: NodeId,
    },
}

/// Fetches each [`DownloadRequest`] from any holder, at most once at a time for a model and a blob. Segments are verified while they
/// arrive, and a download resumes after a break. It goes on until the blob is here or no longer wanted. Cheap to clone.
#[derive(Clone)]
pub struct Downloads {
    shared: Arc<Shared>,
    counters: Arc<TransferCounters>,
}

impl Downloads {
    /// Starts the task that downloads from peers of `mesh` into `store`; returns the handle and the events.
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
            context: DownloadContext {
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

    /// Adds a [`DownloadRequest`]; a second want of the same blob for the same model adds its holders. This call never waits, and no
    /// want is lost: wants are kept on a board, one entry for each model and blob, and their number is bounded by the
    /// records that name them.
    pub fn want(&self, want: DownloadRequest) {
        self.shared.change(|scheduler| scheduler.want(want));
    }

    /// Removes the [`DownloadRequest`] of this blob for this model.
    pub fn cancel(&self, spec: SpecId, blob: BlobId) {
        self.shared.change(|scheduler| scheduler.cancel(spec, blob));
    }

    /// Tells the downloads that a peer has connected or has something new: they try this peer now, not after its backoff.
    pub fn nudge(&self, peer: NodeId) {
        self.shared.change(|scheduler| scheduler.nudge(&peer));
    }

    /// Returns the counters of the bytes received.
    pub fn counters(&self) -> Arc<TransferCounters> {
        self.counters.clone()
    }
}

/// Serves blobs until the mesh stops.
pub async fn serve_blobs(mesh: Mesh, store: BlobStore, provider: Arc<dyn ContentProvider>) {
    BlobServer::new(store, provider).run(mesh).await;
}
