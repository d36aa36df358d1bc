//! A new model: its spec from the caller's wishes and the weights' file, its checkpoint 0, and its announcement.

mod establish;
mod kinds;
mod seeded;
mod spec;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use qres_fed::aggregation::Aggregation;
use qres_fed::codec::Codec;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Dtype, Membership, Schema, Spec, TensorKind, TensorSpec};
use qres_fed::tensor::{Layout, Placement, Source, TensorError};
use qres_fed::{privacy, strategy};
use qres_store::{Blobs, Owner, Store};

use crate::catalog::fixed::FixedState;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::fixed_tensors;
use crate::refusal::tensors_refused;
use crate::request::{CreateModel, ModelRef};
use crate::upload::{Received, Upload};
use crate::view::ModelView;
use establish::{establish, made_before};
use kinds::kinds;
use spec::{First, WEIGHTS_BYTES_MAX, request_digest, spec_of, spec_refused};

/// Begins the creation of a model.
pub async fn begin(context: &Arc<NodeContext>, create: CreateModel) -> Result<Upload<ModelView>, NodeError> {
    context.lifecycle.refuse_if_draining()?;
    context.refuse_if_bootstrap()?;
    check_early(&context.identity.node(), &create)?;
    let options = create.upload.clone();
    if let Some(old) = create.succeeds {
        let created = succeed(context.clone(), create, old).await?;
        return Ok(Upload::done(context, created));
    }
    if let Some(seeded) = create.seeded.clone() {
        let created = seeded::make(context, &create, seeded).await?;
        return Ok(Upload::done(context, created));
    }
    let owner = context.clone();
    Upload::open(context, options, 0, WEIGHTS_BYTES_MAX, move |received| {
        Box::pin(from_upload(owner, create, received))
    })
    .await
}

/// Refuses, before a byte is sent, every error that can be seen by then: all but those of the schema.
fn check_early(me: &NodeId, create: &CreateModel) -> Result<(), NodeError> {
    strategy::check(&create.strategy, &create.schedules).map_err(|error| spec_refused(create, error))?;
    Codec::of(&create.codec).map_err(|error| spec_refused(create, error))?;
    if create.membership == Some(Membership::Open) && create.min_contributions.is_none() {
        return Err(NodeError::invalid(
            "min_contributions",
            "an open model must say how many contributions a round needs at least",
        ));
    }
    let stand_in = TensorSpec {
        name: "w".into(),
        dtype: Dtype::F32,
        shape: vec![],
    };
    let spec = spec_of(*me, create, vec![stand_in].into(), First::of_weights(BlobId([0; 32])));
    spec.check()
        .and_then(|()| Aggregation::of(&spec).map(|_| ()))
        .and_then(|()| strategy::check_spec(&spec))
        .and_then(|()| privacy::check_spec(&spec))
        .map_err(|error| spec_refused(create, error))
}

async fn from_upload(
    context: Arc<NodeContext>,
    create: CreateModel,
    received: Received,
) -> Result<ModelView, NodeError> {
    let (blob, me, wishes) = (received.blob, context.identity.node(), create.clone());
    let headers = context.clone();
    let made = move |store: &Store| {
        let own = store.blobs_of(Owner::Node);
        let file = own.open(&blob)?;
        let file = file.ok_or_else(|| io::Error::other("the upload vanished"));
        let file = file.map_err(|error| tensors_refused(error.into()))?;
        let (tensors, placement) = headers.headers.read(&file).map_err(tensors_refused)?;
        let schema = kinds(&tensors, &wishes)?;
        let written = write_first(&own, (blob, &file), (&schema, &placement), |first| {
            spec_of(me, &wishes, schema.clone(), first)
        });
        written.map_err(tensors_refused)
    };
    let (spec, first) = context.disk.blocking(made).await?;
    let request = request_digest(&create, Some(first));
    establish(&context, &create, spec, request, received).await
}

/// Writes the files that a model begins with, from a caller's file: that of the shared tensors, and that of all others. Returns the spec
/// of the model, which owns them.
fn write_first(
    own: &Blobs,
    (blob, file): (BlobId, &dyn Source),
    (schema, placement): (&Schema, &Placement),
    spec: impl Fn(First) -> Spec,
) -> Result<(Spec, First), TensorError> {
    let layout = Layout::of(schema);
    let plain = schema.fixed().is_empty();
    let owner = |first| Owner::Model(spec(first).id());
    let whole = First::of_weights(blob);
    if plain && layout.is_canonical(file)? && own.share(&blob, owner(whole)).map_err(io::Error::other)? {
        return Ok((spec(whole), whole));
    }
    // The places of the file's tensors are in the order of all tensors.
    let places = |shared: bool| {
        let all = schema.all().zip(&placement.offsets);
        let some = all.filter(|((_, kind), _)| (*kind == TensorKind::Shared) == shared);
        let offsets = some.map(|(_, offset)| *offset).collect();
        Placement { offsets }
    };
    let fixed = match plain {
        true => None,
        false => {
            let layout = Layout::of(schema.fixed());
            let out = own.writer(layout.file_bytes()).map_err(io::Error::other)?;
            let mut out = out.to_be_flushed();
            layout.write_canonical(file, &places(false), &mut out)?;
            Some(out.finish(true).map_err(io::Error::other)?.0)
        }
    };
    let first = |weights: &BlobId| First {
        weights: *weights,
        fixed,
        ..whole
    };
    let out = own.writer(layout.file_bytes()).map_err(io::Error::other)?;
    let mut out = out.to_be_flushed();
    layout.write_canonical(file, &places(true), &mut out)?;
    let (weights, _) = out
        .finish_for(true, |weights| owner(first(weights)))
        .map_err(io::Error::other)?;
    let first = first(&weights);
    let spec = spec(first);
    if let Some(fixed) = fixed {
        own.share(&fixed, Owner::Model(spec.id())).map_err(io::Error::other)?;
    }
    Ok((spec, first))
}

/// Creates a successor, which has the old model's schema, and the old model's head as checkpoint 0.
async fn succeed(context: Arc<NodeContext>, create: CreateModel, old: SpecId) -> Result<ModelView, NodeError> {
    let request = request_digest(&create, None);
    // The same request may come again: by then the old model was left for the new one.
    if let Some(model) = made_before(&context, create.upload.key.clone(), request).await?
        && model.joined().is_some()
    {
        return Ok(context.model_view(&model));
    }
    let (model, joined) = context
        .catalog
        .find_joined(&ModelRef {
            name: create.name.clone(),
            id: Some(old),
        })
        .map_err(|error| error.field("succeeds"))?;
    let head = joined.heads.borrow().head;
    if !head.verified || *joined.fixed.borrow() != FixedState::Here {
        return Err(head_not_held());
    }
    let tensors = model.spec().tensors.clone();
    let earlier = model.spec().earlier_rounds.saturating_add(head.round);
    let spec = spec_of(
        context.identity.node(),
        &create,
        tensors,
        First {
            weights: head.content.weights,
            fixed: model.spec().fixed,
            earlier_rounds: earlier,
        },
    );
    check_noise(model.spec(), &spec)?;
    let guard = context.disk.keep_new_blobs().await;
    // This node may read the head, and its operator gives the head to the new model's members.
    let (owner, to) = (model.clone(), spec.id());
    let share = move |store: &Store| {
        fixed_tensors::share(store, owner.spec(), old, to)?;
        store
            .blobs_of(Owner::Model(old))
            .share(&head.content.weights, Owner::Model(to))
    };
    if !context.disk.blocking(share).await? {
        return Err(head_not_held());
    }
    let received = Received {
        blob: head.content.weights,
        bytes: model.layout.file_bytes(),
        guard,
    };
    establish(&context, &create, spec, request, received).await
}

/// Refuses a successor with less or other noise: the members' ε counts on from that of the old model.
fn check_noise(old: &Spec, new: &Spec) -> Result<(), NodeError> {
    let Some(before) = privacy::gaussian(old) else {
        return Ok(());
    };
    let same = |now: privacy::Gaussian| now.noise_multiplier == before.noise_multiplier;
    if old.privacy.id == new.privacy.id && privacy::gaussian(new).is_some_and(same) {
        return Ok(());
    }
    let problem = format!(
        "the old model has {} with noise_multiplier {}, and its members' ε counts on: keep both, or make a new model",
        old.privacy.id, before.noise_multiplier
    );
    Err(NodeError::invalid("privacy", problem))
}

fn head_not_held() -> NodeError {
    NodeError::new(
        Reason::HeadNotHeld,
        "the old model's head is not here yet: wait until it is joined and has caught up",
    )
    .field("succeeds")
}
