//! How bytes move between two nodes: blobs (`/qres/blob/10`) and records (`/qres/sync/10`), each on its own stream protocol.

#[doc(hidden)]
pub mod blob;
mod counters;
mod fault;
mod link;
mod quota;
#[doc(hidden)]
pub mod sync;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod town;

pub use blob::{BlobServer, DownloadEvent, Downloads, Want, serve_blobs};
pub use counters::TransferCounters;
pub use sync::{Held, Record, SpecOffer, SyncClient, serve_sync};

use futures::future::BoxFuture;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::round::RecordId;

use fault::TransferError;

/// What this node lets others read, and finds for them.
pub trait Library: Send + Sync + 'static {
    /// Whether `peer` may read what belongs to this model: the peer is a member, or the model is open. The bytes of a known
    /// spec (`blob` = `spec`) may be read by anyone. Whether the blob belongs to the model is told by where the store has it.
    fn may_read(&self, peer: &NodeId, spec: &SpecId, blob: &BlobId) -> bool;
    /// Whether `peer` is on the member list of a model that is joined here: members are served before strangers.
    fn is_member(&self, peer: &NodeId) -> bool;
    /// The models known here (joined or not), for a peer that wants to know what there is.
    fn specs(&self) -> BoxFuture<'_, Vec<SpecOffer>>;
    /// Ids of every record held of a model, by round, those of rounds above `above` at least; `None` when it is not joined here or
    /// the peer may not read it.
    fn record_ids(&self, peer: NodeId, spec: SpecId, above: u64) -> BoxFuture<'_, Option<Vec<(u64, RecordId)>>>;
    /// These records, those held.
    fn records(&self, peer: NodeId, spec: SpecId, ids: Vec<RecordId>) -> BoxFuture<'_, Vec<Record>>;
    /// The signed state envelopes held of a model; empty when the peer may not read it.
    fn states(&self, peer: NodeId, spec: SpecId) -> BoxFuture<'_, Vec<Vec<u8>>>;
}

/// A 32-byte digest out of a message.
fn hash_of(what: &'static str, bytes: &[u8]) -> Result<[u8; 32], TransferError> {
    bytes
        .try_into()
        .map_err(|_| TransferError::malformed(what, format!("{} bytes, 32 are needed", bytes.len())))
}
