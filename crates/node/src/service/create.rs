//! A new model: its spec from the caller's wishes and the weights' file, its checkpoint 0, and its announcement.

mod seeded;

use std::io;
use std::sync::Arc;

use qres_fed::codec::Codec;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Canonical, Dtype, Membership, RoundPolicy, Rule, Schema, Signed, Spec, SpecError, TensorSpec};
use qres_fed::strategy;
use qres_fed::tensor::Layout;

use crate::announced;
use crate::catalog::Model;
use crate::catalog::heard::SPEC_BYTES_MAX;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::handle::{CreateModel, ModelRef};
use crate::service::membership::{start_model, take_over};
use crate::service::submit::{key_taken, tensors_refused};
use crate::upload::{Received, Upload};
use crate::view::ModelView;
use crate::view::build as views;
use qres_mesh::Topic;
use qres_store::{KeyOutcome, Owner, Store, StoredKey, Write};
use qres_wire::clock::unix_ms;
use qres_wire::envelope as announce;

/// The largest file of initial weights that this node takes: 256 GiB.
pub const WEIGHTS_BYTES_MAX: u64 = 256 << 30;

/// Begins the creation of a model.
pub async fn begin(context: &Arc<NodeContext>, create: CreateModel) -> Result<Upload<ModelView>, NodeError> {
    context.refuse_if_draining()?;
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
    strategy::check(&create.strategy).map_err(|error| spec_refused(create, error))?;
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
    spec_of(*me, create, vec![stand_in].into(), BlobId([0; 32]))
        .check()
        .map_err(|error| spec_refused(create, error))
}

/// Returns the error for a bad spec, with the field of the request that is at fault.
pub fn spec_refused(create: &CreateModel, error: SpecError) -> NodeError {
    let field = match error.field {
        "tensors" if create.seeded.is_none() => "data",
        // The ceiling is at fault where no deadline was given.
        "deadline_ms" if create.deadline_ms.is_none() => "deadline_max_ms",
        field => field,
    };
    NodeError::invalid(field, error.to_string())
}

/// Returns the BLAKE3 of everything that a key stands for. The spec's id would not do: a spec names the head of its
/// predecessor, which is another one when the same request comes again.
pub fn request_digest(create: &CreateModel, weights: Option<BlobId>) -> [u8; 32] {
    let CreateModel {
        name,
        strategy,
        codec,
        min_contributions,
        target,
        deadline_ms,
        deadline_ms_max,
        max_staleness,
        membership,
        succeeds,
        // The digest of the weights covers the seed.
        seeded: _,
        upload: _,
    } = create;
    let policy = (min_contributions, target, deadline_ms, deadline_ms_max, max_staleness);
    let request = (name, strategy, codec, policy, membership, succeeds, weights);
    let mut bytes = b"qres/create/1\n".to_vec();
    // Writing into a Vec cannot fail, and a rule's numbers were checked to be finite.
    borsh::to_writer(&mut bytes, &request).expect("a request of finite numbers always encodes");
    *blake3::hash(&bytes).as_bytes()
}

async fn from_upload(
    context: Arc<NodeContext>,
    create: CreateModel,
    received: Received,
) -> Result<ModelView, NodeError> {
    let (blob, me, wishes) = (received.blob, context.identity.node(), create.clone());
    let headers = context.clone();
    let made = context
        .blocking(move |store| {
            let own = store.blobs_of(Owner::Node);
            let file = own.open(&blob).map_err(io::Error::other)?;
            let file = file.ok_or_else(|| io::Error::other("the upload vanished"))?;
            let (schema, placement) = headers.headers.read(&file)?;
            let layout = Layout::of(&schema);
            let spec = |weights: &BlobId| spec_of(me, &wishes, schema.clone(), *weights);
            let owner = |weights: &BlobId| Owner::Model(spec(weights).id());
            if layout.is_canonical(&file)? && own.share(&blob, owner(&blob)).map_err(io::Error::other)? {
                return Ok(spec(&blob));
            }
            let out = own.writer(layout.file_bytes()).map_err(io::Error::other)?;
            let mut out = out.to_be_flushed();
            layout.write_canonical(&file, &placement, &mut out)?;
            let (weights, _) = out.finish_for(true, owner).map_err(io::Error::other)?;
            Ok(spec(&weights))
        })
        .await;
    let spec = made.map_err(tensors_refused)?;
    let request = request_digest(&create, Some(spec.checkpoint0));
    establish(&context, &create, spec, request, received).await
}

/// Creates a successor, which has the old model's schema, and the old model's head as checkpoint 0.
async fn succeed(context: Arc<NodeContext>, create: CreateModel, old: SpecId) -> Result<ModelView, NodeError> {
    let request = request_digest(&create, None);
    // The same request may come again: by then the old model was left for the new one.
    if let Some(model) = made_before(&context, create.upload.key.clone(), request).await?
        && model.joined().is_some()
    {
        return Ok(views::model(&context, &model));
    }
    let (model, joined) = context
        .registry
        .find_joined(&ModelRef {
            name: create.name.clone(),
            id: Some(old),
        })
        .map_err(|error| error.field("succeeds"))?;
    let head = joined.heads.borrow().head;
    if !head.verified {
        return Err(head_not_held());
    }
    let tensors = model.spec().tensors.clone();
    let spec = spec_of(context.identity.node(), &create, tensors, head.weights);
    let guard = context.in_flight.clone().read_owned().await;
    // This node may read the head, and its operator gives the head to the new model's members.
    let (from, to) = (Owner::Model(old), Owner::Model(spec.id()));
    let share = move |store: &Store| store.blobs_of(from).share(&head.weights, to);
    if !context.blocking(share).await? {
        return Err(head_not_held());
    }
    let received = Received {
        blob: head.weights,
        bytes: model.layout.file_bytes(),
        guard,
    };
    establish(&context, &create, spec, request, received).await
}

fn head_not_held() -> NodeError {
    NodeError::new(
        Reason::HeadNotHeld,
        "the old model's head is not here yet: wait until it is joined and has caught up",
    )
    .field("succeeds")
}

/// Returns the [`Spec`] that a request asks for. Without members its creator is the only one: no node becomes a member by being
/// connected.
pub fn spec_of(creator: NodeId, create: &CreateModel, tensors: Schema, checkpoint0: BlobId) -> Spec {
    let alone = || Membership::List([creator].into());
    let membership = create.membership.clone().unwrap_or_else(alone);
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
        creator,
        succeeds: create.succeeds,
    }
}

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
    let _turn = context.memberships.lock().await;
    let spec = match made_before(context, create.upload.key.clone(), request).await? {
        Some(model) if model.joined().is_some() => return Ok(views::model(context, &model)),
        Some(model) => model.spec().clone(),
        None => spec,
    };
    spec.check().map_err(|error| spec_refused(create, error))?;
    check_spec_bytes(create, &spec)?;
    let id = spec.id();
    let joined = |m: &Arc<Model>| m.spec().name == spec.name && m.joined().is_some() && m.id != id;
    let other = context.registry.all().into_iter().find(joined);
    if let Some(other) = other.as_ref().filter(|other| Some(other.id) != spec.succeeds) {
        return Err(name_taken(&spec, other));
    }
    let signed = context.identity.sign(spec);
    let writes = store_spec(context, &signed, create.upload.key.clone(), request).await?;
    take_over(context, other.as_ref(), writes).await?;
    let (model, _) = context.registry.add(Arc::new(Model::new(signed.clone())));
    context.registry.heard().forget(&id);
    start_model(context, &model).await?;
    drop(received.guard);
    if let Err(error) = context.mesh.publish(Topic::Epiphany, announce::spec(&signed)).await {
        tracing::warn!(%error, "cannot announce the model; peers will learn of it by sync");
    }
    Ok(views::model(context, &model))
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
async fn made_before(
    context: &Arc<NodeContext>,
    key: Option<String>,
    request: [u8; 32],
) -> Result<Option<Arc<Model>>, NodeError> {
    let Some(key) = key else { return Ok(None) };
    let Some(stored) = context.blocking(move |store| store.key(&key)).await? else {
        return Ok(None);
    };
    match stored.outcome {
        KeyOutcome::Model(id) if stored.request == request => match context.registry.by_id(&id) {
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

#[cfg(test)]
mod tests;
