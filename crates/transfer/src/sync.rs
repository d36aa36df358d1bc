//! Transfer of records over `/qres/sync/10`: two nodes compare the record ids of a model and fetch what is missing.

mod bucket;
mod client;
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod key;
mod server;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use libp2p::StreamProtocol;
use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::{Contribution, Proof, Seal, Signature, Signed};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::fault::TransferError;
use super::link::{Link, Pace};
use super::{ContentProvider, hash_of};
use client::{Exchange, SyncError};
use qres_mesh::{Fault, Mesh, MeshError};
use server::SyncServer;

pub use held::Held;

/// The stream protocol for records.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/sync/10");
/// Longest request frame, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest item of an answer, in bytes: the largest item holds 4,096 keys with their rounds (164 KiB).
const ITEM_BYTES_MAX: usize = 256 * 1024;
/// Buckets whose keys one request may ask for.
const BUCKETS_PER_ASK_MAX: usize = 1024;
/// Keys that one request asks for at most (a larger bucket is asked for alone).
const KEYS_AT_ONCE: usize = 16_384;
/// Keys in one item of an answer.
const KEYS_PER_ITEM_MAX: usize = 4096;
/// Records that one request may ask for, and the largest size of a batch.
const RECORDS_PER_ASK_MAX: usize = 256;
/// Models that a peer may offer.
const SPECS_MAX: usize = 1024;
/// States of one model that a peer may send.
const STATES_MAX: usize = 4096;
/// Longest state envelope, in bytes.
const STATE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all state envelopes of one model together (32 MiB).
const STATES_BYTES_MAX: usize = 32 << 20;
/// Exchanges that this node has under way as the asking side; the next exchange waits.
const EXCHANGES_MAX: usize = 8;

/// A record as it moves between nodes. A received record is decoded, but its signatures are not yet verified.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Record {
    Contribution(Signed<Contribution>),
    Seal(Signed<Seal>),
    Proof(Proof),
}

/// A model that a peer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SpecOffer {
    pub spec: SpecId,
    /// Length of the spec's canonical bytes.
    pub bytes: u64,
    pub name: String,
    pub creator: NodeId,
    /// Signature of the creator over the spec's canonical bytes.
    pub signature: Signature,
}

/// Asks peers for their models, records and states.
#[derive(Clone)]
pub struct SyncClient {
    mesh: Mesh,
    exchanges: Arc<Semaphore>,
}

impl SyncClient {
    /// Makes a client that asks through this mesh.
    pub fn new(mesh: Mesh) -> Self {
        Self {
            mesh,
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
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
        Ok((Exchange::new(Link::new(stream, Pace::default())), permit))
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

/// Answers peers until the mesh stops.
pub async fn serve_sync(mesh: Mesh, provider: Arc<dyn ContentProvider>) {
    SyncServer::new(provider).run(mesh).await;
}
