//! A new model: its spec from the caller's wishes and the weights' file, its checkpoint 0, its announcement.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use qres_fed::codec::Codec;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Canonical, Membership, RoundPolicy, Rule, Signed, Spec, SpecError};
use qres_fed::strategy;
use qres_fed::tensor::{self, Layout};

use super::intake::{Received, Upload};
use super::membership::start_model;
use super::registry::Model;
use super::submit::{key_taken, tensors_refused};
use super::{Core, announce, views};
use crate::clock::unix_ms;
use crate::error::{Kind, NodeError};
use crate::handle::{CreateModel, ModelRef};
use crate::mesh::Topic;
use crate::store::{KeyOutcome, StoredKey, Write};
use crate::view::ModelView;

/// The largest initial weights that are taken: 256 GiB.
const WEIGHTS_BYTES_MAX: u64 = 256 << 30;

/// Begins the creation of a model.
pub async fn begin(core: &Arc<Core>, create: CreateModel) -> Result<Upload<ModelView>, NodeError> {
    core.refuse_if_draining()?;
    check_rules(&create)?;
    let options = create.upload.clone();
    if let Some(old) = create.succeeds {
        let created = succeed(core.clone(), create, old).await?;
        return Ok(Upload::done(core, created));
    }
    let owner = core.clone();
    Upload::open(core, options, WEIGHTS_BYTES_MAX, move |received| {
        Box::pin(from_upload(owner, create, received))
    })
    .await
}

fn check_rules(create: &CreateModel) -> Result<(), NodeError> {
    strategy::check(&create.strategy).map_err(spec_refused)?;
    Codec::of(&create.codec).map_err(spec_refused)?;
    Ok(())
}

/// What is wrong with a spec.
pub fn spec_refused(error: SpecError) -> NodeError {
    NodeError::invalid(error.field, error.to_string())
}

async fn from_upload(core: Arc<Core>, create: CreateModel, received: Received) -> Result<ModelView, NodeError> {
    let blob = received.blob;
    let made = core
        .blocking(move |store| {
            let file = store.blobs().open(&blob).map_err(io::Error::other)?;
            let file = file.ok_or_else(|| io::Error::other("the upload vanished"))?;
            let schema = tensor::read_schema(&file)?;
            let placement = tensor::check_weights(&schema, &file)?;
            let mut out = store.blobs().writer().map_err(io::Error::other)?;
            Layout::of(&schema).write_canonical(&file, &placement, &mut out)?;
            let (weights, _) = out.finish(true).map_err(io::Error::other)?;
            Ok((schema, weights))
        })
        .await;
    let (schema, weights) = made.map_err(tensors_refused)?;
    let spec = spec_of(&core, &create, schema, weights);
    establish(&core, spec, create.upload.key, received).await
}

/// A successor: the old model's schema, and its head as checkpoint 0.
async fn succeed(core: Arc<Core>, create: CreateModel, old: SpecId) -> Result<ModelView, NodeError> {
    let (model, joined) = core.registry.find_joined(&ModelRef {
        name: create.name.clone(),
        id: Some(old),
    })?;
    let head = joined.heads.borrow().head;
    if !head.verified {
        return Err(NodeError::new(
            Kind::FailedPrecondition,
            "HEAD_NOT_HELD",
            "the old model's head is not here yet: wait until it is joined and has caught up",
        )
        .field("succeeds"));
    }
    let spec = spec_of(&core, &create, model.spec().tensors.clone(), head.weights);
    let guard = core.in_flight.clone().read_owned().await;
    let received = Received {
        blob: head.weights,
        bytes: model.layout.file_bytes(),
        guard,
    };
    establish(&core, spec, create.upload.key, received).await
}

fn spec_of(core: &Core, create: &CreateModel, tensors: Vec<qres_fed::record::TensorSpec>, checkpoint0: BlobId) -> Spec {
    let me = core.identity.node();
    let membership = create.membership.clone().unwrap_or_else(|| {
        Membership::List(
            core.mesh
                .connected()
                .into_iter()
                .chain([me])
                .collect::<BTreeSet<NodeId>>(),
        )
    });
    let majority = match &membership {
        Membership::List(members) => members.len() / 2 + 1,
        Membership::Open => 1,
    };
    let defaults = RoundPolicy::default();
    Spec {
        name: create.name.clone(),
        tensors,
        strategy: create.strategy.clone(),
        rounds: RoundPolicy {
            min_contributions: create
                .min_contributions
                .unwrap_or(u32::try_from(majority).unwrap_or(u32::MAX)),
            target: create.target,
            deadline_ms: create.deadline_ms,
            deadline_ms_max: create
                .deadline_ms_max
                .unwrap_or(defaults.deadline_ms_max.max(create.deadline_ms.unwrap_or(0))),
            max_staleness: create.max_staleness.unwrap_or(defaults.max_staleness),
        },
        codec: create.codec.clone(),
        privacy: Rule::new("none/1"),
        membership,
        checkpoint0,
        creator: me,
        succeeds: create.succeeds,
    }
}

/// Stores, joins and announces a model; the same spec again is the same model.
async fn establish(
    core: &Arc<Core>,
    spec: Spec,
    key: Option<String>,
    received: Received,
) -> Result<ModelView, NodeError> {
    spec.check().map_err(spec_refused)?;
    if spec.membership == Membership::Open && spec.rounds.min_contributions == 0 {
        return Err(NodeError::invalid(
            "min_contributions",
            "an open model must say how many contributions a round needs",
        ));
    }
    let id = spec.id();
    if let Some(key) = key.clone()
        && let Some(stored) = core.blocking(move |store| store.key(&key)).await?
        && (stored.outcome != KeyOutcome::Model(id) || stored.request != id.0)
    {
        return Err(key_taken(&stored.key));
    }
    let other = core
        .registry
        .all()
        .into_iter()
        .find(|m| m.spec().name == spec.name && m.joined().is_some() && m.id != id);
    if let Some(other) = other.as_ref().filter(|other| Some(other.id) != spec.succeeds) {
        return Err(NodeError::new(
            Kind::AlreadyExists,
            "MODEL_EXISTS",
            format!(
                "this node has joined another model named {} ({}): leave it first, name the new one differently, or let it \
                 succeed the old one (succeeds)",
                spec.name, other.id
            ),
        )
        .field("name"));
    }
    let signed = core.identity.sign(spec);
    store_spec(core, &signed, key).await?;
    let model = core.registry.add(Model::new(signed.clone()), true);
    let model =
        model.ok_or_else(|| NodeError::new(Kind::ResourceExhausted, "MODELS_FULL", "too many models are known"))?;
    if let Some(other) = other {
        super::membership::leave(core, &other).await?;
    }
    start_model(core, &model).await?;
    drop(received.guard);
    if let Err(error) = core.mesh.publish(Topic::Epiphany, announce::spec(&signed)).await {
        tracing::warn!(%error, "cannot announce the model; peers will learn of it by sync");
    }
    Ok(views::model(core, &model))
}

async fn store_spec(core: &Arc<Core>, signed: &Signed<Spec>, key: Option<String>) -> Result<(), NodeError> {
    let id = signed.record.id();
    let mut writes = vec![
        Write::Spec(signed.clone()),
        Write::Join(id),
        Write::Verified(id, signed.record.zero().0),
    ];
    writes.extend(key.map(|key| {
        Write::Key(StoredKey {
            key,
            request: id.0,
            outcome: KeyOutcome::Model(id),
            at_unix_ms: unix_ms(),
        })
    }));
    let bytes = signed.record.to_canonical();
    core.blocking(move |store| {
        store.blobs().put(&bytes, true)?;
        store.commit(writes)
    })
    .await?;
    Ok(())
}
