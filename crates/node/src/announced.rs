//! The spec of an announced model: it stays on the disk until a caller asks for it, and is read by one caller at a time.

use std::sync::Arc;

use qres_fed::id::{BlobId, SpecId};
use qres_fed::record::{Canonical, Signed, Spec};
use qres_store::{HeardModel, Owner, Store, Write};

use crate::catalog::entry::Model;
use crate::catalog::known::Known;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::view::Event;

/// Returns the whole [`Model`]. A spec may have megabytes, and many times as much once decoded, so one spec is decoded at a
/// time.
pub async fn whole(context: &Arc<NodeContext>, known: &Known) -> Result<Arc<Model>, NodeError> {
    let heard = match known {
        Known::Here(model) => return Ok(model.clone()),
        Known::Heard(heard) => heard.clone(),
    };
    // The semaphore is never closed.
    let _turn = context.slots.specs.acquire().await;
    // Another caller may have joined the model meanwhile.
    if let Some(model) = context.catalog.get(&heard.id) {
        return Ok(model);
    }
    match context.disk.blocking(move |store| read(store, &heard)).await {
        Some(model) => Ok(Arc::new(model)),
        None => Err(gone(context, known).await),
    }
}

fn read(store: &Store, heard: &HeardModel) -> Option<Model> {
    let bytes = store.blobs_of(Owner::Specs).read(&BlobId::from(heard.id))?;
    if SpecId::of(&bytes) != heard.id {
        return None;
    }
    let record = Spec::from_canonical(&bytes).ok()?;
    Some(Model::new(Signed {
        record,
        signature: heard.signature,
    }))
}

/// Forgets a model whose spec a power cut or a failing disk took. This node hears of it again from a peer that has the spec.
async fn gone(context: &Arc<NodeContext>, known: &Known) -> NodeError {
    let id = known.id();
    context.catalog.heard().forget(&id);
    context.events.push(Event::ModelLeft(id, known.name().clone()));
    if let Err(error) = context
        .disk
        .blocking(move |store| store.commit(vec![Write::ForgetHeard(id)]))
        .await
    {
        tracing::warn!(%id, %error, "cannot forget an announced model");
    }
    NodeError::new(
        Reason::SpecGone,
        format!(
            "the spec of model {id} is no longer on the disk: it comes again from a peer that has it, try again then"
        ),
    )
    .field("model")
    .retry_after(10_000)
}
