//! A blob that is to be fetched.

use qres_fed::id::{BlobId, NodeId, SpecId};

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
