//! Models that others announce: their specs are fetched, checked and listed as AVAILABLE.

use std::sync::Arc;

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Outline, Signature};
use qres_mesh::Fault;
use qres_store::{HeardModel, Owner, Store, Write};
use qres_transfer::DownloadRequest;
use qres_wire::clock;
use qres_wire::identity;
use tracing::debug;

use crate::blob_demand::Purpose;
use crate::catalog::heard::SPEC_BYTES_MAX;
use crate::catalog::known::Known;
use crate::context::NodeContext;
use crate::creators;
use crate::spec_offers::Given;
use crate::view::Event;

/// An announcement of a model.
#[derive(Debug, Clone)]
pub struct Announced {
    /// The spec's id, which is also the blob id of its canonical bytes.
    pub id: SpecId,
    /// The length of the canonical bytes.
    pub bytes: u64,
    /// The signature that is said to be the creator's.
    pub signature: Signature,
    /// The node that announced the signature.
    pub author: NodeId,
    /// The node that brought it over a connection. The offer counts against this node's places: connections are dear, names of
    /// authors are free.
    pub carrier: NodeId,
    /// The nodes that should have the spec.
    pub holders: Vec<NodeId>,
    /// True if the offer came in a comparison. Such an offer displaces no model, or two nodes with much to tell would displace
    /// each other's for ever.
    pub compared: bool,
}

/// Takes an offer: fetches the spec if it is news. Gossip and sync use this function alike.
pub fn consider(context: &Arc<NodeContext>, announced: Announced) {
    let Announced {
        id,
        bytes,
        signature,
        author,
        carrier,
        holders,
        compared,
    } = announced;
    if compared && context.catalog.heard().is_full(&carrier, bytes) {
        return;
    }
    if bytes > SPEC_BYTES_MAX || context.catalog.knows(&id) {
        return;
    }
    let given = Given {
        author,
        carrier,
        signature,
    };
    let Ok(given_up) = context.offers.pending().take(id, given, clock::now()) else {
        debug!(by = %carrier, "too many offers of one node: it is asked again");
        return;
    };
    if let Some(old) = given_up {
        let blob = BlobId::from(old);
        let cancel = || context.downloads.cancel(old, blob);
        context.blob_demand.forget(&blob, old, Purpose::Offer, cancel);
    }
    let blob = BlobId::from(id);
    let want = DownloadRequest {
        spec: id,
        blob,
        // The download takes no more than the announced bytes from any peer.
        bytes: Some(bytes),
        bytes_max: SPEC_BYTES_MAX,
        holders,
        owed_by: None,
        traceparent: None,
    };
    let ask = || context.downloads.want(want);
    context.blob_demand.want(blob, id, Purpose::Offer, ask);
}

/// Handles a blob from a peer. If it is an offered spec, the spec is checked, and the model counts as announced from here on.
pub async fn arrived(context: &Arc<NodeContext>, id: SpecId, blob: BlobId, from: NodeId) {
    if BlobId::from(id) != blob {
        return;
    }
    // Taken while the offer is still pending: until the catalog knows the spec, nothing else keeps it from the collector.
    let guard = context.disk.keep_new_blobs().await;
    let Some(offer) = context.offers.pending().offers.remove(&id) else {
        return;
    };
    let (carrier, signatures) = (offer.by, offer.signatures);
    let given = signatures.clone();
    let read = move |store: &Store| {
        let bytes = store.blobs_of(Owner::Specs).read(&blob).ok_or(Unsound::Unread)?;
        read(&bytes, &given).map(|(outline, signature)| (outline, signature, bytes.len() as u64))
    };
    let (outline, signature, spec_bytes) = match context.disk.blocking(read).await {
        Ok(read) => read,
        Err(unsound) => return blame(context, id, unsound, from, &signatures),
    };
    let heard = HeardModel {
        id,
        name: outline.name,
        creator: outline.creator,
        succeeds: outline.succeeds,
        spec_bytes,
        signature,
        carrier,
    };
    let kept = keep(context, heard).await;
    // A join takes this lock again, behind a collector that waits for it.
    drop(guard);
    if let Some(heard) = kept {
        context.ended.notify_one();
        crate::background::auto_join::consider(context, &Known::Heard(heard)).await;
    }
}

/// Keeps a model that is sound, and tells watchers ([`Event::ModelHeard`]).
async fn keep(context: &Arc<NodeContext>, heard: HeardModel) -> Option<Arc<HeardModel>> {
    if context.catalog.get(&heard.id).is_some() {
        return None;
    }
    let known = |creator: &NodeId| creators::is_known(context, creator);
    let kept = context.catalog.heard().keep(heard.clone(), known);
    let Some(forgotten) = kept else {
        debug!(id = %heard.id, carrier = %heard.carrier, "no room for an announced model");
        return None;
    };
    let mut writes: Vec<_> = forgotten.iter().map(|old| Write::ForgetHeard(old.id)).collect();
    writes.push(Write::Heard(heard.clone()));
    if let Err(error) = context.disk.blocking(move |store| store.commit(writes)).await {
        tracing::warn!(%error, "cannot store an announced model");
    }
    for old in forgotten {
        context.events.push(Event::ModelLeft(old.id, old.name.clone()));
    }
    let heard = Arc::new(heard);
    context.events.push(Event::ModelHeard(heard.clone()));
    Some(heard)
}

/// The reason why an offered spec is not kept.
#[derive(Debug, PartialEq, Eq)]
enum Unsound {
    /// The disk did not give the bytes back.
    Unread,
    /// The spec contradicts itself, or the bytes are no spec.
    Spec,
    /// None of the signatures is the creator's.
    Signature,
}

/// Penalizes the nodes at fault. An honest node serves and announces only specs that it has checked, and forwards the
/// announcements of others under their names.
fn blame(context: &NodeContext, id: SpecId, unsound: Unsound, from: NodeId, signatures: &[Given]) {
    let (problem, culprits) = match unsound {
        Unsound::Unread => return,
        // The node that served the bytes has not checked them. Announcers may repeat what they heard.
        Unsound::Spec => ("its bytes are no sound spec", vec![from]),
        Unsound::Signature => (
            "the signature is not its creator's",
            signatures.iter().map(|given| given.author).collect(),
        ),
    };
    debug!(%id, problem, "an announced model is not valid");
    // An id of all zeros means that the spec was on the disk before.
    for node in culprits.into_iter().filter(|node| *node != NodeId([0; 32])) {
        context
            .mesh
            .penalize(node, Fault::Forged, format!("announced model {id}: {problem}"));
    }
}

/// Returns the [`Outline`] of a sound spec, and the signature that its creator made.
fn read(bytes: &[u8], signatures: &[Given]) -> Result<(Outline, Signature), Unsound> {
    let outline = Outline::read(bytes).map_err(|_| Unsound::Spec)?;
    let right = |signature: &&Signature| identity::verify_bytes(&outline.creator, bytes, signature);
    let mut signatures = signatures.iter().map(|given| &given.signature);
    let signature = *signatures.find(right).ok_or(Unsound::Signature)?;
    Ok((outline, signature))
}

#[cfg(test)]
mod tests {
    use qres_fed::record::{Canonical, Membership};
    use qres_wire::identity::Identity;

    use super::*;
    use crate::spec_offers::{PendingOffers, SIGNATURES_MAX};
    use crate::tests::spec as spec_of;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    const WRONG: Signature = Signature([7; 64]);

    /// A signature as a peer gives it in a comparison.
    fn given(carrier: u8, signature: Signature) -> Given {
        Given {
            author: node(carrier),
            carrier: node(carrier),
            signature,
        }
    }

    #[test]
    fn a_wrong_signature_does_not_displace_the_right_one() {
        let creator = Identity::ephemeral();
        let members = Membership::List([creator.node()].into());
        let signed = creator.sign(spec_of("m", members, 1, creator.node()));
        let id = signed.record.id();
        let (mut pending, now) = (PendingOffers::default(), clock::now());
        pending.take(id, given(1, WRONG), now).unwrap();
        // One connection brings wrong signatures under many names, and later many connections bring one each.
        for author in 2..40 {
            let given = Given {
                author: node(author),
                ..given(1, WRONG)
            };
            pending.take(id, given, now).unwrap();
        }
        let right = Given {
            author: creator.node(),
            carrier: creator.node(),
            signature: signed.signature,
        };
        pending.take(id, right, now).unwrap();
        for carrier in 2..40 {
            pending.take(id, given(carrier, WRONG), now).unwrap();
        }
        let signatures = &pending.offers[&id].signatures;
        assert_eq!(signatures.len(), SIGNATURES_MAX);
        let bytes = signed.record.to_canonical();
        let (outline, signature) = read(&bytes, signatures).unwrap();
        assert_eq!((outline.creator, signature), (signed.record.creator, signed.signature));
        assert_eq!(read(&bytes, &[given(9, WRONG)]), Err(Unsound::Signature));
        assert_eq!(read(b"qres/spec/1\nnonsense", signatures), Err(Unsound::Spec));
    }
}
