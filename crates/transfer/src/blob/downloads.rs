//! The handle of the downloads: takes wants, and starts the task that fetches the blobs.

use std::sync::Arc;

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_mesh::Mesh;
use qres_store::BlobStore;
use tokio::sync::mpsc;

use super::assembly::Assemblies;
use super::event::DownloadEvent;
use super::manager::{Holders, Manager, Shared};
use super::pool::Pool;
use super::request::DownloadRequest;
use super::session::DownloadContext;
use crate::counters::TransferCounters;
use crate::link::Pace;

/// Events of finished downloads that may wait for the engine; the next event is sent when one of them has been taken.
const EVENTS_MAX: usize = 64;

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
                assemblies: Assemblies::default(),
                counters: downloads.counters.clone(),
                changed: downloads.shared.changed.clone(),
            },
            pace,
            events,
            pool: Pool::default(),
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
