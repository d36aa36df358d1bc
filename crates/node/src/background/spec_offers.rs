//! Models that others announce: their specs are fetched, checked and listed as AVAILABLE.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Outline, Signature};
use tracing::debug;

use crate::blob_demand::Purpose;
use crate::catalog::heard::SPEC_BYTES_MAX;
use crate::catalog::known::Known;
use crate::context::NodeContext;
use crate::creators;
use crate::view::Event;
use qres_mesh::Fault;
use qres_store::{HeardModel, Owner, Store, Write};
use qres_transfer::DownloadRequest;
use qres_wire::identity;

/// The most offers whose specs are on their way; above it the oldest is given up, so that no offer blocks the others for ever.
const PENDING_MAX: usize = 256;
/// The most of these offers that one node has brought.
const PENDING_PER_NODE_MAX: usize = 32;
/// The time after which a spec that has not come makes room for another one of the same node.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
/// The most signatures kept of one offer: wrong ones must not displace the right one.
const SIGNATURES_MAX: usize = 16;
/// The most of these signatures that came over one connection.
const SIGNATURES_PER_CARRIER_MAX: usize = 2;

/// Offers that wait for the bytes of their spec.
#[derive(Default)]
pub struct Offers(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    offers: BTreeMap<SpecId, Offer>,
    count: u64,
    /// Nodes that had more offers than fitted.
    more: BTreeSet<NodeId>,
}

struct Offer {
    number: u64,
    since: Instant,
    /// The node that brought the offer first.
    by: NodeId,
    /// Signatures said to be the creator's. The right one shows when the spec is here.
    signatures: Vec<Given>,
}

/// A signature, the node that announced it, and the node over whose connection it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Given {
    author: NodeId,
    carrier: NodeId,
    signature: Signature,
}

impl Offer {
    /// Keeps one more signature, the newest of each connection. Where all places are taken, a connection with several gives one
    /// up.
    fn add(&mut self, given: Given) {
        let count = |carrier: &NodeId| self.signatures.iter().filter(|g| g.carrier == *carrier).count();
        let crowded = |g: &Given| count(&g.carrier) >= SIGNATURES_PER_CARRIER_MAX;
        let full = self.signatures.len() >= SIGNATURES_MAX;
        let gives_way = match count(&given.carrier) >= SIGNATURES_PER_CARRIER_MAX {
            true => self.signatures.iter().position(|g| g.carrier == given.carrier),
            false if full => self.signatures.iter().position(crowded),
            false => None,
        };
        if let Some(place) = gives_way {
            self.signatures.remove(place);
        } else if full {
            return;
        }
        self.signatures.push(given);
    }
}

impl Pending {
    /// Takes an offer, and returns the one that had to be given up for it; `Err` when this offer is not taken.
    fn take(&mut self, id: SpecId, given: Given, now: Instant) -> Result<Option<SpecId>, ()> {
        let by = given.carrier;
        if let Some(offer) = self.offers.get_mut(&id) {
            offer.add(given);
            return Ok(None);
        }
        let own = || self.offers.iter().filter(|(_, offer)| offer.by == by);
        let crowded = own().count() >= PENDING_PER_NODE_MAX;
        let oldest = match crowded {
            true => own().min_by_key(|(_, offer)| offer.number),
            false => self.offers.iter().min_by_key(|(_, offer)| offer.number),
        };
        if crowded && oldest.is_none_or(|(_, offer)| now.duration_since(offer.since) < ARRIVES_WITHIN) {
            self.more.insert(by);
            return Err(());
        }
        let oldest = oldest.map(|(id, _)| *id);
        let oldest = oldest.filter(|_| crowded || self.offers.len() >= PENDING_MAX);
        if let Some(oldest) = &oldest {
            self.offers.remove(oldest);
        }
        self.count += 1;
        let offer = Offer {
            number: self.count,
            since: now,
            by,
            signatures: vec![given],
        };
        self.offers.insert(id, offer);
        Ok(oldest)
    }
}

impl Offers {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the nodes whose further offers did not fit; they are to be asked again.
    pub fn take_more(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.pending().more)
    }

    /// Returns the blobs that must stay until they are looked at.
    pub fn live_blobs(&self) -> Vec<BlobId> {
        self.pending().offers.keys().map(|id| BlobId::from(*id)).collect()
    }
}

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
    if compared && context.registry.heard().is_full(&carrier, bytes) {
        return;
    }
    if bytes > SPEC_BYTES_MAX || context.registry.knows(&id) {
        return;
    }
    let given = Given {
        author,
        carrier,
        signature,
    };
    let Ok(given_up) = context.offers.pending().take(id, given, Instant::now()) else {
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
    // Taken while the offer is still pending: until the registry knows the spec, nothing else keeps it from the collector.
    let guard = context.in_flight.clone().read_owned().await;
    let Some(offer) = context.offers.pending().offers.remove(&id) else {
        return;
    };
    let (carrier, signatures) = (offer.by, offer.signatures);
    let given = signatures.clone();
    let read = move |store: &Store| {
        let bytes = crate::model::task::read_whole(&store.blobs_of(Owner::Specs), &blob).ok_or(Unsound::Unread)?;
        read(&bytes, &given).map(|(outline, signature)| (outline, signature, bytes.len() as u64))
    };
    let (outline, signature, spec_bytes) = match context.blocking(read).await {
        Ok(read) => read,
        Err(unsound) => return blame(context, id, unsound, from, &signatures),
    };
    let heard = HeardModel {
        id,
        name: outline.name,
        creator: outline.creator,
        spec_bytes,
        signature,
        carrier,
    };
    let kept = keep(context, heard).await;
    // A join takes this lock again, behind a collector that waits for it.
    drop(guard);
    if let Some(heard) = kept {
        crate::background::auto_join::consider(context, &Known::Heard(heard)).await;
    }
}

/// Keeps a model that is sound, and tells watchers ([`Event::ModelHeard`]).
async fn keep(context: &Arc<NodeContext>, heard: HeardModel) -> Option<Arc<HeardModel>> {
    if context.registry.get(&heard.id).is_some() {
        return None;
    }
    let known = |creator: &NodeId| creators::is_known(context, creator);
    let kept = context.registry.heard().keep(heard.clone(), known);
    let Some(forgotten) = kept else {
        debug!(id = %heard.id, carrier = %heard.carrier, "no room for an announced model");
        return None;
    };
    let mut writes: Vec<_> = forgotten.iter().map(|old| Write::ForgetHeard(old.id)).collect();
    writes.push(Write::Heard(heard.clone()));
    if let Err(error) = context.blocking(move |store| store.commit(writes)).await {
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

    use super::*;
    use crate::tests::spec as spec_of;
    use qres_wire::identity::Identity;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn spec(n: usize) -> SpecId {
        SpecId::of(&n.to_le_bytes())
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
    fn one_node_s_offers_and_all_of_them_are_bounded_and_none_is_stuck() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for n in 0..PENDING_PER_NODE_MAX {
            assert_eq!(pending.take(spec(n), given(1, WRONG), now), Ok(None));
        }
        assert_eq!(pending.take(spec(1000), given(1, WRONG), now), Err(()));
        assert_eq!(
            pending.take(spec(0), given(1, WRONG), now),
            Ok(None),
            "one that is pending is no more"
        );
        for n in PENDING_PER_NODE_MAX..PENDING_MAX {
            assert_eq!(
                pending.take(spec(n), given((n / PENDING_PER_NODE_MAX) as u8 + 1, WRONG), now),
                Ok(None)
            );
        }
        assert_eq!(
            pending.take(spec(2000), given(99, WRONG), now),
            Ok(Some(spec(0))),
            "the oldest makes room"
        );
        assert_eq!(pending.offers.len(), PENDING_MAX);
    }

    #[test]
    fn what_does_not_come_makes_room_for_more_of_the_same_node() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.take(spec(5000), given(2, WRONG), now).unwrap();
        for n in 0..PENDING_PER_NODE_MAX {
            pending.take(spec(n), given(1, WRONG), now).unwrap();
        }
        let more = |pending: &mut Pending, at| pending.take(spec(1000), given(1, WRONG), at);
        assert_eq!(more(&mut pending, now), Err(()));
        assert_eq!(pending.more, BTreeSet::from([node(1)]), "it is asked again");
        assert_eq!(more(&mut pending, now + ARRIVES_WITHIN), Ok(Some(spec(0))));
    }

    #[test]
    fn a_wrong_signature_does_not_displace_the_right_one() {
        let creator = Identity::ephemeral();
        let members = Membership::List([creator.node()].into());
        let signed = creator.sign(spec_of("m", members, 1, creator.node()));
        let id = signed.record.id();
        let (mut pending, now) = (Pending::default(), Instant::now());
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
