//! The file of a model's frozen and personal tensors on its way in: it is fetched once, checked, and kept as long as the model.

use std::sync::Arc;
use std::time::Duration;

use qres_fed::id::SpecId;
use qres_fed::record::Spec;
use qres_fed::tensor::{self, TensorError};
use qres_store::{Owner, Store, StoreError};
use qres_transfer::DownloadRequest;
use tracing::warn;

use crate::blob_demand::Purpose;
use crate::catalog::entry::Model;
use crate::catalog::fixed::{FixedParts, FixedState};
use crate::context::NodeContext;

/// The pause before a file that could not be read is looked at again.
const UNREAD_PAUSE: Duration = Duration::from_secs(1);

/// The outcome of a look at the disk.
enum Look {
    Here,
    /// The file is not on the disk, or was damaged and is removed.
    Missing,
    Bad(String),
    Unread(String),
}

/// Looks for the file of a model that has just been joined or started: a file that is here is checked, any other is asked of peers.
pub fn look(context: &Arc<NodeContext>, model: &Arc<Model>) {
    if model.fixed.is_none() {
        return;
    }
    let what = format!("the fixed tensors of model {}", model.spec().name);
    let (context, model) = (context.clone(), model.clone());
    let owner = context.clone();
    owner.lifecycle.spawn_critical(what, async move {
        let stop = context.lifecycle.stop.clone();
        stop.run_until_cancelled(check(&context, &model)).await;
    });
}

/// Takes a file that has come from a peer.
pub fn arrived(context: &Arc<NodeContext>, spec: SpecId) {
    if let Some(model) = context.catalog.get(&spec) {
        look(context, &model);
    }
}

async fn check(context: &Arc<NodeContext>, model: &Arc<Model>) {
    loop {
        let (Some(fixed), Some(joined)) = (&model.fixed, model.joined()) else {
            return;
        };
        let owner = model.clone();
        let state = match context.disk.blocking(move |store| look_at(store, &owner)).await {
            Look::Here => FixedState::Here,
            Look::Missing => {
                want(context, model, fixed);
                return;
            }
            Look::Bad(reason) => {
                warn!(model = %model.spec().name, reason, "the fixed tensors are not what the spec says: no trainer can use the model");
                FixedState::Bad
            }
            Look::Unread(error) => {
                warn!(model = %model.spec().name, error, "the fixed tensors cannot be read: looked at again");
                tokio::time::sleep(UNREAD_PAUSE).await;
                continue;
            }
        };
        joined.fixed.send_replace(state);
        context.model_changed(model);
        return;
    }
}

fn look_at(store: &Store, model: &Model) -> Look {
    let Some(fixed) = &model.fixed else {
        return Look::Here;
    };
    let blobs = store.blobs_of(Owner::Model(model.id));
    // A download is not flushed when it is whole, so a power cut may have left zeros in its place.
    match blobs.verify(&fixed.blob) {
        Ok(true) => {}
        Ok(false) => return Look::Missing,
        Err(error) => return Look::Unread(error.to_string()),
    }
    let file = match blobs.open(&fixed.blob) {
        Ok(Some(file)) => file,
        Ok(None) => return Look::Missing,
        Err(error) => return Look::Unread(error.to_string()),
    };
    let schema = model.spec().tensors.fixed();
    let canonical = fixed.layout.is_canonical(&file).map_err(TensorError::from);
    let checked = canonical.and_then(|canonical| match canonical {
        true => tensor::check_weights(schema, &file).map(|_| ()),
        false => Err(TensorError::Bad("not the canonical file of its tensors".into())),
    });
    match checked {
        Ok(()) => match blobs.sync(&fixed.blob) {
            Ok(()) => Look::Here,
            Err(error) => Look::Unread(error.to_string()),
        },
        Err(TensorError::Io(error)) => Look::Unread(error.to_string()),
        Err(TensorError::Bad(reason)) => Look::Bad(reason),
    }
}

fn want(context: &NodeContext, model: &Model, fixed: &FixedParts) {
    let bytes = fixed.layout.file_bytes();
    let want = DownloadRequest {
        spec: model.id,
        blob: fixed.blob,
        bytes: Some(bytes),
        bytes_max: bytes,
        // All connected peers are asked.
        holders: vec![model.spec().creator],
        owed_by: None,
        traceparent: None,
    };
    let ask = || context.downloads.want(want);
    context.blob_demand.want(fixed.blob, model.id, Purpose::Fixed, ask);
}

/// Gives up a file that is on its way to a model that is being left.
pub fn give_up(context: &NodeContext, model: &Model) {
    if let Some(fixed) = &model.fixed {
        let cancel = || context.downloads.cancel(model.id, fixed.blob);
        context
            .blob_demand
            .forget(&fixed.blob, model.id, Purpose::Fixed, cancel);
    }
}

/// Gives the successor of a spec the file of the fixed tensors, which is the same in both.
pub fn share(store: &Store, spec: &Spec, from: SpecId, to: SpecId) -> Result<(), StoreError> {
    if let Some(blob) = spec.fixed {
        // Where it is not here yet, the successor fetches it.
        store.blobs_of(Owner::Model(from)).share(&blob, Owner::Model(to))?;
    }
    Ok(())
}
