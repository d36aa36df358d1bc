//! Models that others announce: their specs are fetched, checked and listed as AVAILABLE.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Canonical, Signature, Signed, Spec};
use tracing::debug;

use super::Core;
use super::registry::{Added, Model};
use super::wants::Purpose;
use crate::identity;
use crate::store::{Owner, Store, Write};
use crate::transfer::Want;
use crate::view::Event;

/// The largest spec that is fetched: 65,536 tensors with long names stay below it.
const SPEC_BYTES_MAX: u64 = 64 << 20;
/// Offers whose specs are on their way; above it the oldest is given up, so that no one blocks the others for ever.
const PENDING_MAX: usize = 256;
/// Of these, first offered by one node.
const PENDING_PER_NODE_MAX: usize = 32;
/// A spec that has not come by then makes room for another one of the same node.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);
/// Signatures kept of one offer, each from another node: a wrong one must not displace the right one.
const SIGNATURES_MAX: usize = 16;

/// Offers waiting for their spec's bytes.
#[derive(Default)]
pub struct Offers(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    offers: BTreeMap<SpecId, Offer>,
    count: u64,
    /// Nodes that had more to offer than fitted.
    more: BTreeSet<NodeId>,
}

struct Offer {
    number: u64,
    since: Instant,
    /// Who offered it first.
    by: NodeId,
    /// What each node said is the creator's signature; which one is shows when the spec is here.
    signatures: BTreeMap<NodeId, Signature>,
}

impl Pending {
    /// Takes an offer; answers with the one that had to be given up, `Err` when this one is not taken.
    fn take(&mut self, id: SpecId, by: NodeId, signature: Signature, now: Instant) -> Result<Option<SpecId>, ()> {
        if let Some(offer) = self.offers.get_mut(&id) {
            if offer.signatures.len() < SIGNATURES_MAX || offer.signatures.contains_key(&by) {
                offer.signatures.insert(by, signature);
            }
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
            signatures: BTreeMap::from([(by, signature)]),
        };
        self.offers.insert(id, offer);
        Ok(oldest)
    }
}

impl Offers {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nodes whose further offers did not fit; they are to be asked again.
    pub fn take_more(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.pending().more)
    }

    /// Blobs that must stay until they are looked at.
    pub fn live_blobs(&self) -> Vec<BlobId> {
        self.pending().offers.keys().map(|id| BlobId::from(*id)).collect()
    }
}

/// Takes an offer: fetches the spec if it is news. Works the same for gossip and for sync; the first holder is who offers.
pub fn consider(core: &Arc<Core>, id: SpecId, bytes: u64, signature: Signature, holders: Vec<NodeId>) {
    let Some(by) = holders.first().copied() else { return };
    if core.registry.get(&id).is_some() || bytes > SPEC_BYTES_MAX {
        return;
    }
    let Ok(given_up) = core.offers.pending().take(id, by, signature, Instant::now()) else {
        debug!(%by, "too many offers of one node: it is asked again");
        return;
    };
    if let Some(old) = given_up {
        let blob = BlobId::from(old);
        let cancel = || core.downloads.cancel(old, blob);
        core.wants.forget(&blob, old, Purpose::Offer, cancel);
    }
    let blob = BlobId::from(id);
    let want = Want {
        spec: id,
        blob,
        bytes: Some(bytes),
        bytes_max: SPEC_BYTES_MAX,
        holders,
        owed_by: None,
        traceparent: None,
    };
    let ask = || core.downloads.want(want);
    core.wants.want(blob, id, Purpose::Offer, ask);
}

/// A blob came: when it is an offered spec, it is checked and known from here on.
pub async fn arrived(core: &Arc<Core>, id: SpecId, blob: BlobId) {
    if BlobId::from(id) != blob {
        return;
    }
    // Before it is no longer pending: until the registry knows it, nothing else keeps it from the collector.
    let guard = core.in_flight.clone().read_owned().await;
    let Some(offer) = core.offers.pending().offers.remove(&id) else {
        return;
    };
    let signatures: Vec<_> = offer.signatures.into_values().collect();
    let read = move |store: &Store| {
        super::model::read_whole(&store.blobs_of(Owner::Specs), &blob).and_then(|bytes| read(&bytes, &signatures))
    };
    let Some(signed) = core.blocking(read).await else {
        debug!(%id, "an announced spec is not valid: ignored");
        return;
    };
    let Some(Added { model, forgotten }) = core.registry.add(Model::new(signed.clone()), false) else {
        return;
    };
    drop(guard);
    let mut writes: Vec<_> = forgotten.iter().map(|old| Write::ForgetSpec(old.id)).collect();
    writes.push(Write::Spec(signed));
    if let Err(error) = core.blocking(move |store| store.commit(writes)).await {
        tracing::warn!(%error, "cannot store an announced spec");
    }
    for old in forgotten {
        core.hub.push(Event::ModelLeft(old.id, old.spec().name.clone()));
    }
    core.model_changed(&model);
    super::auto_join::consider(core, &model).await;
}

/// A spec that agrees with itself, with the signature that its creator made.
fn read(bytes: &[u8], signatures: &[Signature]) -> Option<Signed<Spec>> {
    let record = Spec::from_canonical(bytes).ok()?;
    record.check().ok()?;
    let canonical = record.to_canonical();
    let right = |signature: &&Signature| identity::verify_bytes(&record.creator, &canonical, signature);
    let signature = *signatures.iter().find(right)?;
    Some(Signed { record, signature })
}

#[cfg(test)]
mod tests {
    use qres_fed::record::Membership;

    use super::super::tests::spec as spec_of;
    use super::*;
    use crate::identity::Identity;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn spec(n: usize) -> SpecId {
        SpecId::of(&n.to_le_bytes())
    }

    const WRONG: Signature = Signature([7; 64]);

    #[test]
    fn one_node_s_offers_and_all_of_them_are_bounded_and_none_is_stuck() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        for n in 0..PENDING_PER_NODE_MAX {
            assert_eq!(pending.take(spec(n), node(1), WRONG, now), Ok(None));
        }
        assert_eq!(pending.take(spec(1000), node(1), WRONG, now), Err(()));
        assert_eq!(
            pending.take(spec(0), node(1), WRONG, now),
            Ok(None),
            "one that is pending is no more"
        );
        for n in PENDING_PER_NODE_MAX..PENDING_MAX {
            assert_eq!(
                pending.take(spec(n), node((n / PENDING_PER_NODE_MAX) as u8 + 1), WRONG, now),
                Ok(None)
            );
        }
        assert_eq!(
            pending.take(spec(2000), node(99), WRONG, now),
            Ok(Some(spec(0))),
            "the oldest makes room"
        );
        assert_eq!(pending.offers.len(), PENDING_MAX);
    }

    #[test]
    fn what_does_not_come_makes_room_for_more_of_the_same_node() {
        let (mut pending, now) = (Pending::default(), Instant::now());
        pending.take(spec(5000), node(2), WRONG, now).unwrap();
        for n in 0..PENDING_PER_NODE_MAX {
            pending.take(spec(n), node(1), WRONG, now).unwrap();
        }
        let more = |pending: &mut Pending, at| pending.take(spec(1000), node(1), WRONG, at);
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
        pending.take(id, node(1), WRONG, now).unwrap();
        pending.take(id, creator.node(), signed.signature, now).unwrap();
        for n in 2..40 {
            pending.take(id, node(n), WRONG, now).unwrap();
        }
        let signatures: Vec<_> = pending.offers[&id].signatures.values().copied().collect();
        assert_eq!(signatures.len(), SIGNATURES_MAX);
        let bytes = signed.record.to_canonical();
        assert_eq!(read(&bytes, &signatures), Some(signed));
        assert_eq!(read(&bytes, &[WRONG]), None);
        assert_eq!(read(b"qres/spec/1\nnonsense", &signatures), None);
    }
}
