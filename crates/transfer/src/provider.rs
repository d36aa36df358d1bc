//! The data that a node serves to its peers, and who may read what.

use futures::future::BoxFuture;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::round::RecordId;

use super::{Record, SpecOffer};

/// The data that this node serves to peers, and the rules that decide which peer may read what.
pub trait ContentProvider: Send + Sync + 'static {
    /// Returns true if `peer` may read blobs of this model: the peer is a member, or the model is open. Every peer may
    /// read the bytes of a known spec (then `blob` has the digest of `spec`). This method does not check that the blob
    /// belongs to the model: the server looks only among the blobs that its store keeps for the model.
    fn may_read(&self, peer: &NodeId, spec: &SpecId, blob: &BlobId) -> bool;
    /// Returns true if `peer` is on the member list of a model that this node has joined: members are served before
    /// strangers.
    fn is_member(&self, peer: &NodeId) -> bool;
    /// Returns the models that this node knows (joined or not), for a peer that asks which models there are.
    fn specs(&self) -> BoxFuture<'_, Vec<SpecOffer>>;
    /// Returns the round and the id of every record that this node holds of a model, at least of the rounds above
    /// `above`; `None` if this node has not joined the model or the peer may not read it.
    fn record_ids(&self, peer: NodeId, spec: SpecId, above: u64) -> BoxFuture<'_, Option<Vec<(u64, RecordId)>>>;
    /// Returns the records with these ids, without those that this node does not hold.
    fn records(&self, peer: NodeId, spec: SpecId, ids: Vec<RecordId>) -> BoxFuture<'_, Vec<Record>>;
    /// Returns the signed state envelopes that this node holds of a model; empty if the peer may not read it.
    fn states(&self, peer: NodeId, spec: SpecId) -> BoxFuture<'_, Vec<Vec<u8>>>;
}
