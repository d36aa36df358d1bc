//! Records over `/qres/sync/10`: two nodes compare the record ids of a model and fetch what is missing.

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
use super::{Library, hash_of};
use client::{Exchange, SyncError};
use qres_mesh::{Fault, Mesh, MeshError};
use server::SyncServer;

pub use held::Held;

/// The stream protocol.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/sync/10");
/// Longest request.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest item: the largest holds 4,096 keys (164 KiB).
const ITEM_BYTES_MAX: usize = 256 * 1024;
/// Buckets whose keys may be asked for at once.
const BUCKETS_PER_ASK_MAX: usize = 1024;
/// Keys that are taken in at once (a larger bucket goes alone).
const KEYS_AT_ONCE: usize = 16_384;
/// Keys in one item.
const KEYS_PER_ITEM_MAX: usize = 4096;
/// Records that may be asked for at once, and a batch's size.
const RECORDS_PER_ASK_MAX: usize = 256;
/// Models that a peer may offer.
const SPECS_MAX: usize = 1024;
/// States of one model that a peer may send.
const STATES_MAX: usize = 4096;
/// Longest state envelope.
const STATE_BYTES_MAX: usize = 64 * 1024;
/// Their bytes in all.
const STATES_BYTES_MAX: usize = 32 << 20;
/// Exchanges that this node has under way; the next one waits.
const EXCHANGES_MAX: usize = 8;

/// A record as it moves. Received ones are decoded, their signatures not yet verified.
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
    /// Length of the canonical bytes.
    pub bytes: u64,
    pub name: String,
    pub creator: NodeId,
    /// The creator's, over the canonical bytes.
    pub signature: Signature,
}

/// Asks peers.
#[derive(Clone)]
pub struct SyncClient {
    mesh: Mesh,
    exchanges: Arc<Semaphore>,
}

impl SyncClient {
    /// Asks through this mesh.
    pub fn new(mesh: Mesh) -> Self {
        Self {
            mesh,
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
        }
    }

    /// What the peer knows.
    pub async fn specs(&self, peer: NodeId) -> Result<Vec<SpecOffer>, MeshError> {
        let (mut exchange, _permit) = self.open(peer).await?;
        let specs = exchange.specs().await;
        self.end(peer, exchange, specs).await
    }

    /// Compares by round buckets (digest, then ids) and returns the records that the peer has and we do not, parents first
    /// (ascending by round), in batches through the callback so that nothing is held whole. Stops when the receiver closes;
    /// answers how many records came. A peer that does not show us the model has none.
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

    /// The signed state envelopes that the peer holds of a model.
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

    /// Closes a conversation that went well, and tells on a peer that broke the limits. One that is slow to answer may be busy
    /// with its rounds: that is no fault.
    async fn end<T>(
        &self,
        peer: NodeId,
        exchange: Exchange<libp2p::Stream>,
        outcome: Result<T, SyncError>,
    ) -> Result<T, MeshError> {
        match outcome {
            Ok(answer) => {
                // The answer is here, whatever becomes of the goodbye.
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
pub async fn serve_sync(mesh: Mesh, library: Arc<dyn Library>) {
    SyncServer::new(library).run(mesh).await;
}
