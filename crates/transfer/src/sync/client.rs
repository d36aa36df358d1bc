//! The asking side of the exchanges of records.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::sync::Arc;

use qres_fed::id::{NodeId, SpecId};
use qres_mesh::{Fault, Mesh, MeshError};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::exchange::{Exchange, SyncError};
use super::held::Held;
use super::protocol::PROTOCOL;
use crate::counters::{StreamKind, TransferCounters};
use crate::fault::TransferError;
use crate::link::{Link, Pace};
use crate::{Record, SpecOffer};

/// Exchanges that this node has under way as the asking side; the next exchange waits.
const EXCHANGES_MAX: usize = 8;

/// Asks peers for their models, records and states.
#[derive(Clone)]
pub struct SyncClient {
    mesh: Mesh,
    exchanges: Arc<Semaphore>,
    counters: Arc<TransferCounters>,
}

impl SyncClient {
    /// Makes a client that asks through this mesh, and counts the bytes of its streams.
    pub fn new(mesh: Mesh, counters: Arc<TransferCounters>) -> Self {
        Self {
            mesh,
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
            counters,
        }
    }

    /// Returns a [`SpecOffer`] for each model that the peer knows.
    pub async fn specs(&self, peer: NodeId) -> Result<Vec<SpecOffer>, MeshError> {
        let (mut exchange, _permit) = self.open(peer).await?;
        let specs = exchange.specs().await;
        self.end(peer, exchange, specs).await
    }

    /// Compares the records of a model in buckets of rounds (digests, then ids), and fetches each [`Record`] that the
    /// peer has and this node does not. The records go to `batch` in batches, parents first (ascending by round), so that
    /// the whole answer is never in memory. Stops when the receiver of `batch` closes; returns how many records came. A
    /// peer that does not show the model to this node counts as one without records.
    pub async fn missing(
        &self,
        peer: NodeId,
        spec: SpecId,
        held: Held,
        batch: tokio::sync::mpsc::Sender<Vec<Record>>,
    ) -> Result<usize, MeshError> {
        let (mut exchange, _permit) = self.open(peer).await?;
        let count = exchange.missing(spec, held, &batch).await;
        self.end(peer, exchange, count).await
    }

    /// Returns the signed state envelopes that the peer holds of a model.
    pub async fn states(&self, peer: NodeId, spec: SpecId) -> Result<Vec<Vec<u8>>, MeshError> {
        let (mut exchange, _permit) = self.open(peer).await?;
        let states = exchange.states(spec).await;
        self.end(peer, exchange, states).await
    }

    async fn open(&self, peer: NodeId) -> Result<(Exchange<libp2p::Stream>, SemaphorePermit<'_>), MeshError> {
        let permit = self.exchanges.acquire().await.map_err(|_| MeshError::Stopped)?;
        let stream = self.mesh.open(peer, PROTOCOL).await?;
        let link = Link::new(stream, Pace::default()).tally(self.counters.clone(), StreamKind::Records);
        Ok((Exchange::new(link), permit))
    }

    /// Closes an exchange that went well, and penalizes a peer that broke the limits. A peer that is slow to answer may
    /// be busy with its rounds: that is no fault.
    async fn end<T>(
        &self,
        peer: NodeId,
        exchange: Exchange<libp2p::Stream>,
        outcome: Result<T, SyncError>,
    ) -> Result<T, MeshError> {
        match outcome {
            Ok(answer) => {
                // The answer is here, so a failure to close the stream does not matter.
                let _ = exchange.close().await;
                Ok(answer)
            }
            Err(SyncError::Busy) => Err(MeshError::Stream("it has no room for another sync exchange now".into())),
            Err(SyncError::Transfer(TransferError::Mesh(error))) => Err(error),
            Err(SyncError::Transfer(error)) => {
                if let Some(fault @ (Fault::Protocol | Fault::Forged)) = error.fault() {
                    self.mesh.penalize(peer, fault, format!("{PROTOCOL}: {error}"));
                }
                Err(MeshError::Stream(error.to_string()))
            }
        }
    }
}
