//! Models that others announce: their specs are fetched, checked and listed as AVAILABLE.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Canonical, Signature, Signed, Spec};
use tracing::debug;

use super::Core;
use super::registry::Model;
use crate::identity;
use crate::store::Write;
use crate::transfer::Want;

/// The largest spec that is fetched: 65,536 tensors with long names stay below it.
const SPEC_BYTES_MAX: u64 = 64 << 20;
/// Offers whose specs are on their way.
const PENDING_MAX: usize = 256;

/// Offers waiting for their spec's bytes, with the signature that each holder gave.
#[derive(Default)]
pub struct Offers {
    pending: Mutex<BTreeMap<SpecId, Signature>>,
}

/// Takes an offer: fetches the spec if it is news. Works the same for gossip and for sync.
pub fn consider(core: &Arc<Core>, id: SpecId, bytes: u64, signature: Signature, holders: Vec<NodeId>) {
    if core.registry.get(&id).is_some() || bytes > SPEC_BYTES_MAX {
        return;
    }
    {
        let mut pending = core.offers.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if !pending.contains_key(&id) && pending.len() >= PENDING_MAX {
            return;
        }
        pending.insert(id, signature);
    }
    let blob = BlobId::from(id);
    core.downloads.want(Want {
        spec: id,
        blob,
        bytes: Some(bytes),
        bytes_max: SPEC_BYTES_MAX,
        holders,
        traceparent: None,
    });
}

/// A blob came: when it is an offered spec, it is checked and known from here on. `true` when it was one.
pub async fn arrived(core: &Arc<Core>, id: SpecId, blob: BlobId) -> bool {
    if BlobId::from(id) != blob {
        return false;
    }
    let signature = core
        .offers
        .pending
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&id);
    let Some(signature) = signature else { return true };
    let bytes = core.blocking(move |store| super::model::read_whole(store, &blob)).await;
    let Some(signed) = bytes.and_then(|bytes| read(&bytes, signature)) else {
        debug!(%id, "an announced spec is not valid: ignored");
        return true;
    };
    let Some(model) = core.registry.add(Model::new(signed.clone()), false) else {
        return true;
    };
    if let Err(error) = core
        .blocking(move |store| store.commit(vec![Write::Spec(signed)]))
        .await
    {
        tracing::warn!(%error, "cannot store an announced spec");
    }
    core.model_changed(&model);
    super::auto_join::consider(core, &model).await;
    true
}

fn read(bytes: &[u8], signature: Signature) -> Option<Signed<Spec>> {
    let signed = Signed {
        record: Spec::from_canonical(bytes).ok()?,
        signature,
    };
    (signed.record.check().is_ok() && identity::verify(&signed)).then_some(signed)
}
