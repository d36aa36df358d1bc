//! Models that others announce: their specs are fetched, checked and listed as AVAILABLE.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Canonical, Signature, Signed, Spec};
use tracing::debug;

use super::Core;
use super::registry::Model;
use super::wants::Purpose;
use crate::identity;
use crate::store::{Store, Write};
use crate::transfer::Want;

/// The largest spec that is fetched: 65,536 tensors with long names stay below it.
const SPEC_BYTES_MAX: u64 = 64 << 20;
/// Offers whose specs are on their way; above it the oldest is given up, so that no one blocks the others for ever.
const PENDING_MAX: usize = 256;
/// Of these, first offered by one node.
const PENDING_PER_NODE_MAX: usize = 32;
/// Signatures kept of one offer, each from another node: a wrong one must not displace the right one.
const SIGNATURES_MAX: usize = 16;

/// Offers waiting for their spec's bytes.
#[derive(Default)]
pub struct Offers(Mutex<Pending>);

#[derive(Default)]
struct Pending {
    offers: BTreeMap<SpecId, Offer>,
    count: u64,
}

struct Offer {
    number: u64,
    /// Who offered it first.
    by: NodeId,
    /// What each node said is the creator's signature; which one is shows when the spec is here.
    signatures: BTreeMap<NodeId, Signature>,
}

impl Pending {
    /// Takes an offer; answers with the one that had to be given up, `Err` when this one is not taken.
    fn take(&mut self, id: SpecId, by: NodeId, signature: Signature) -> Result<Option<SpecId>, ()> {
        if let Some(offer) = self.offers.get_mut(&id) {
            if offer.signatures.len() < SIGNATURES_MAX || offer.signatures.contains_key(&by) {
                offer.signatures.insert(by, signature);
            }
            return Ok(None);
        }
        if self.offers.values().filter(|offer| offer.by == by).count() >= PENDING_PER_NODE_MAX {
            return Err(());
        }
        let oldest = self.offers.iter().min_by_key(|(_, offer)| offer.number);
        let oldest = oldest.map(|(id, _)| *id).filter(|_| self.offers.len() >= PENDING_MAX);
        if let Some(oldest) = &oldest {
            self.offers.remove(oldest);
        }
        self.count += 1;
        let offer = Offer {
            number: self.count,
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
    let Ok(given_up) = core.offers.pending().take(id, by, signature) else {
        debug!(%by, "too many offers of one node: ignored");
        return;
    };
    if let Some(old) = given_up {
        let blob = BlobId::from(old);
        let cancel = || core.downloads.cancel(blob);
        core.wants.forget(&blob, old, Purpose::Offer, cancel);
    }
    let blob = BlobId::from(id);
    let want = Want {
        spec: id,
        blob,
        bytes: Some(bytes),
        bytes_max: SPEC_BYTES_MAX,
        holders,
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
    let read = move |store: &Store| super::model::read_whole(store, &blob).and_then(|bytes| read(&bytes, &signatures));
    let Some(signed) = core.blocking(read).await else {
        debug!(%id, "an announced spec is not valid: ignored");
        return;
    };
    let Some(model) = core.registry.add(Model::new(signed.clone()), false) else {
        return;
    };
    drop(guard);
    if let Err(error) = core
        .blocking(move |store| store.commit(vec![Write::Spec(signed)]))
        .await
    {
        tracing::warn!(%error, "cannot store an announced spec");
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
        let mut pending = Pending::default();
        for n in 0..PENDING_PER_NODE_MAX {
            assert_eq!(pending.take(spec(n), node(1), WRONG), Ok(None));
        }
        assert_eq!(pending.take(spec(1000), node(1), WRONG), Err(()));
        assert_eq!(
            pending.take(spec(0), node(1), WRONG),
            Ok(None),
            "one that is pending is no more"
        );
        for n in PENDING_PER_NODE_MAX..PENDING_MAX {
            assert_eq!(
                pending.take(spec(n), node((n / PENDING_PER_NODE_MAX) as u8 + 1), WRONG),
                Ok(None)
            );
        }
        assert_eq!(
            pending.take(spec(2000), node(99), WRONG),
            Ok(Some(spec(0))),
            "the oldest makes room"
        );
        assert_eq!(pending.offers.len(), PENDING_MAX);
    }

    #[test]
    fn a_wrong_signature_does_not_displace_the_right_one() {
        let creator = Identity::ephemeral();
        let members = Membership::List([creator.node()].into());
        let signed = creator.sign(spec_of("m", members, 1, creator.node()));
        let id = signed.record.id();
        let mut pending = Pending::default();
        pending.take(id, node(1), WRONG).unwrap();
        pending.take(id, creator.node(), signed.signature).unwrap();
        for n in 2..40 {
            pending.take(id, node(n), WRONG).unwrap();
        }
        let signatures: Vec<_> = pending.offers[&id].signatures.values().copied().collect();
        assert_eq!(signatures.len(), SIGNATURES_MAX);
        let bytes = signed.record.to_canonical();
        assert_eq!(read(&bytes, &signatures), Some(signed));
        assert_eq!(read(&bytes, &[WRONG]), None);
        assert_eq!(read(b"qres/spec/1\nnonsense", &signatures), None);
    }
}
