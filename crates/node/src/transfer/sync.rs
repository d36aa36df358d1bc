//! Records over `/qres/sync/10`: two nodes compare the record ids of a model and fetch what is missing.

use std::sync::Arc;

use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::{Contribution, Proof, Seal, Signature, Signed};
use qres_fed::round::RecordId;

use super::Library;
use crate::mesh::{Mesh, MeshError};

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
pub struct SyncClient {}

#[allow(unused_variables, missing_docs, clippy::unused_async)]
impl SyncClient {
    pub fn new(mesh: Mesh) -> Self {
        todo!()
    }
    /// What the peer knows.
    pub async fn specs(&self, peer: NodeId) -> Result<Vec<SpecOffer>, MeshError> {
        todo!()
    }
    /// Compares by round buckets (digest, then ids) and returns the records that the peer has and we do not, parents first
    /// (ascending by round), in batches through the callback so that nothing is held whole.
    pub async fn missing(
        &self,
        peer: NodeId,
        spec: SpecId,
        ours: Vec<(u64, RecordId)>,
        batch: tokio::sync::mpsc::Sender<Vec<Record>>,
    ) -> Result<usize, MeshError> {
        todo!()
    }
    /// The signed state envelopes that the peer holds of a model.
    pub async fn states(&self, peer: NodeId, spec: SpecId) -> Result<Vec<Vec<u8>>, MeshError> {
        todo!()
    }
}

/// Answers peers until the mesh stops.
#[allow(clippy::unused_async)]
pub async fn serve_sync(_mesh: Mesh, _library: Arc<dyn Library>) {
    todo!()
}
