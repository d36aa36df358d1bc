//! A new model is stored, joined and announced.

use std::sync::Arc;

use qres_fed::record::{Canonical, Signed, Spec, SpecError};
use qres_mesh::Topic;
use qres_store::{KeyOutcome, Owner, StoredKey, Write};
use qres_wire::clock::unix_ms;
use qres_wire::envelope;

use super::spec::spec_refused;
use crate::announced;
use crate::catalog::entry::Model;
use crate::catalog::heard::SPEC_BYTES_MAX;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::model::start::start_model;
use crate::refusal::key_taken;
use crate::request::CreateModel;
use crate::service::fetch::fixed_here;
use crate::service::membership::{carry_personal, take_over};
use crate::upload::Received;
use crate::view::ModelView;

/// Stores, joins and announces a model. The same spec or the same key again gives the same model. The work goes on to its end
/// if the caller goes away.
pub async fn establish(
    context: &Arc<NodeContext>,
    create: &CreateModel,
    spec: Spec,
    request: [u8; 32],
    received: Received,
) -> Result<ModelView, NodeError> {
    let (owner, create) = (context.clone(), create.clone());
    context
        .lifecycle
        .to_the_end(async move { establish_now(&owner, &create, spec, request, received).await })
        .await
}

async fn establish_now(
    context: &Arc<NodeContext>,
    create: &CreateModel,
    spec: Spec,
    request: [u8; 32],
    received: Received,
) -> Result<ModelView, NodeError> {
    let turn = context.memberships.lock().await;
    let spec = match made_before(context, create.upload.key.clone(), request).await? {
        Some(model) if model.joined().is_some() => return Ok(context.model_view(&model)),
        Some(model) => model.spec().clone(),
        None => spec,
    };
    spec.check().map_err(|error| spec_refused(create, error))?;
    check_spec_bytes(create, &spec)?;
    let id = spec.id();
    let other = context.catalog.joined_of(&spec.name).filter(|model| model.id != id);
    if let Some(other) = other.as_ref().filter(|other| Some(other.id) != spec.succeeds) {
        return Err(name_taken(&spec, other));
    }
    let signed = context.identity.sign(spec);
    let writes = store_spec(context, &signed, create.upload.key.clone(), request).await?;
    take_over(context, other.as_ref(), writes).await?;
    let (model, _) = context.catalog.add(Arc::new(Model::new(signed.clone())));
    context.catalog.heard().forget(&id);
    start_model(context, &model).await?;
    drop(received.guard);
    if let Err(error) = context.mesh.publish(Topic::Epiphany, envelope::spec(&signed)).await {
        tracing::warn!(%error, "cannot announce the model; peers will learn of it by sync");
    }
    drop(turn);
    if let Some(joined) = model.joined() {
        // The file was written a moment ago, and is being checked. A model that is left meanwhile needs none.
        let _ = fixed_here(context, &joined).await;
    }
    Ok(context.model_view(&model))
}

/// Refuses a spec above [`SPEC_BYTES_MAX`], which other nodes would ignore.
fn check_spec_bytes(create: &CreateModel, spec: &Spec) -> Result<(), NodeError> {
    let bytes = spec.to_canonical().len() as u64;
    if bytes <= SPEC_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("the spec has {bytes} bytes, at most {SPEC_BYTES_MAX}: fewer tensors, or shorter names");
    let field = "tensors";
    Err(spec_refused(create, SpecError { field, problem }))
}

/// Returns the model that an earlier request with this key made.
pub async fn made_before(
    context: &Arc<NodeContext>,
    key: Option<String>,
    request: [u8; 32],
) -> Result<Option<Arc<Model>>, NodeError> {
    let Some(key) = key else { return Ok(None) };
    let Some(stored) = context.disk.blocking(move |store| store.key(&key)).await? else {
        return Ok(None);
    };
    match stored.outcome {
        KeyOutcome::Model(id) if stored.request == request => match context.catalog.by_id(&id) {
            Some(known) => announced::whole(context, &known).await.map(Some),
            None => Ok(None),
        },
        _ => Err(key_taken(&stored.key)),
    }
}

fn name_taken(spec: &Spec, other: &Model) -> NodeError {
    NodeError::new(
        Reason::ModelExists,
        format!(
            "this node has joined another model named {} ({}): leave it first, name the new one differently, or let it succeed \
             the old one (succeeds)",
            spec.name, other.id
        ),
    )
    .field("name")
}

/// Stores the spec's blob, and returns the writes to commit.
async fn store_spec(
    context: &Arc<NodeContext>,
    signed: &Signed<Spec>,
    key: Option<String>,
    request: [u8; 32],
) -> Result<Vec<Write>, NodeError> {
    let id = signed.record.id();
    let mut writes = vec![Write::Spec(signed.clone()), Write::Join(id), Write::ForgetHeard(id)];
    writes.extend(carry_personal(context, &signed.record));
    writes.extend(key.map(|key| {
        Write::Key(StoredKey {
            key,
            request,
            outcome: KeyOutcome::Model(id),
            at_unix_ms: unix_ms(),
        })
    }));
    let (bytes, weights) = (signed.record.to_canonical(), signed.record.checkpoint0);
    let held = context
        .disk
        .blocking(move |store| {
            store.blobs_of(Owner::Specs).put(&bytes, true)?;
            // From the answer on the weights must not be lost.
            let blobs = store.blobs_of(Owner::Model(id));
            let held = blobs.contains(&weights);
            if held {
                blobs.sync(&weights)?;
            }
            Ok::<_, NodeError>(held)
        })
        .await?;
    // If the model of a key was left meanwhile, its weights may have to be fetched again.
    writes.extend(held.then(|| Write::Verified(id, signed.record.zero().0)));
    Ok(writes)
}
