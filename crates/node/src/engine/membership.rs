//! Joining and leaving a model.

use std::sync::Arc;

use qres_fed::codec::Codec;
use qres_fed::id::{CheckpointId, SpecId};
use qres_fed::record::Spec;
use qres_fed::round::{Config, Machine, Restored, Submission};
use qres_fed::strategy;

use super::model::ModelTask;
use super::registry::Model;
use super::{Core, views};
use crate::error::{Kind, NodeError};
use crate::store::{Store, StoreError, StoredSubmission, Write};
use crate::view::{Event, ModelView};

/// How long before a round's deadline a node merges what it has: room to code, send and fetch.
const MERGE_MARGIN_MS: u64 = 2_000;

/// Joins a known model: durable, then running.
pub async fn join(core: &Arc<Core>, model: &Arc<Model>) -> Result<ModelView, NodeError> {
    core.refuse_if_draining()?;
    if model.joined().is_some() {
        return Ok(views::model(core, model));
    }
    joinable(core, model)?;
    let spec = model.spec();
    let same_name = core
        .registry
        .all()
        .into_iter()
        .find(|m| m.spec().name == spec.name && m.joined().is_some());
    if let Some(other) = &same_name {
        if spec.succeeds != Some(other.id) {
            return Err(NodeError::new(
                Kind::FailedPrecondition,
                "NAME_IN_USE",
                format!(
                    "this node has joined another model named {} ({}): leave it first",
                    spec.name, other.id
                ),
            )
            .field("model"));
        }
        leave(core, other).await?;
    }
    let (id, signed) = (model.id, model.signed.clone());
    core.blocking(move |store| store.commit(vec![Write::Spec(signed), Write::Join(id)]))
        .await?;
    start_model(core, model).await?;
    core.syncer.request(model.id, vec![]);
    Ok(views::model(core, model))
}

/// Whether this node can and may take part.
fn joinable(core: &Core, model: &Model) -> Result<(), NodeError> {
    let spec = model.spec();
    let known = strategy::check(&spec.strategy)
        .and_then(|()| Codec::of(&spec.codec).map(|_| ()))
        .and_then(|()| strategy::check_privacy(&spec.privacy));
    known.map_err(|error| {
        NodeError::new(
            Kind::FailedPrecondition,
            "RULE_UNKNOWN",
            format!(
                "model {} needs what this qres-daemon does not know ({error}): upgrade it",
                spec.name
            ),
        )
        .field("model")
    })?;
    if !model.readable_by(&core.identity.node()) {
        return Err(NodeError::new(
            Kind::PermissionDenied,
            "NOT_A_MEMBER",
            format!(
                "model {} has a member list, this node ({}) is not on it, and a list governs reading too: its creator can make a \
                 successor that lists this node",
                spec.name,
                core.identity.node()
            ),
        )
        .field("model"));
    }
    Ok(())
}

/// Starts a joined model's task from what is stored.
pub async fn start_model(core: &Arc<Core>, model: &Arc<Model>) -> Result<(), NodeError> {
    if model.joined().is_some() {
        return Ok(());
    }
    let config = Config {
        node: core.identity.node(),
        trainers: core.config.trainers,
        merge_margin_ms: MERGE_MARGIN_MS,
        keep_rounds: core.config.keep_rounds,
    };
    let (spec, id) = (model.spec().clone(), model.id);
    let now = core.clock.now();
    let (machine, outputs, owned) = core
        .blocking(move |store| {
            let (restored, owned) = restore(store, &spec, id)?;
            let (machine, outputs) = Machine::new(spec, config, restored, now);
            Ok::<_, StoreError>((machine, outputs, owned))
        })
        .await?;
    core.registry.own(model.spec().checkpoint0, id);
    for blob in owned.into_iter().chain(machine.live_blobs()) {
        core.registry.own(blob, id);
    }
    let joined = ModelTask::spawn(core, model, machine, outputs);
    model.set_joined(Some(joined));
    core.model_changed(model);
    Ok(())
}

/// What the store remembers, less what the disk has lost: a checkpoint whose weights are gone or damaged is recomputed or
/// fetched again.
fn restore(store: &Store, spec: &Spec, id: SpecId) -> Result<(Restored, Vec<qres_fed::id::BlobId>), StoreError> {
    let records = store.records(id)?;
    let submissions = store.open_submissions(id)?;
    let mut verified = records.verified;
    let zero = spec.zero().0;
    let held = |weights| store.blobs().contains(weights);
    if !held(&spec.checkpoint0) {
        verified.remove(&zero);
    }
    let mut newest: Option<(u64, CheckpointId, qres_fed::id::BlobId)> = None;
    for seal in &records.seals {
        let checkpoint = seal.record.checkpoint().id();
        if !held(&seal.record.result) {
            verified.remove(&checkpoint);
        } else if verified.contains(&checkpoint) && newest.is_none_or(|(round, ..)| round < seal.record.round) {
            newest = Some((seal.record.round, checkpoint, seal.record.result));
        }
    }
    // Results are not flushed when they are made, so after a power cut the newest may be torn: only that one is read again.
    if let Some((_, checkpoint, weights)) = newest
        && !store.blobs().verify(&weights)?
    {
        verified.remove(&checkpoint);
    }
    let owned = records.contributions.iter().map(|c| c.record.update);
    let owned = owned.chain(records.seals.iter().map(|s| s.record.result)).collect();
    let restored = Restored {
        contributions: records.contributions,
        seals: records.seals,
        proofs: records.proofs,
        verified,
        submissions: submissions.into_iter().map(submission).collect(),
    };
    Ok((restored, owned))
}

fn submission(stored: StoredSubmission) -> (Submission, qres_fed::round::SubmissionState) {
    let submission = Submission {
        id: stored.id,
        trainer: stored.trainer,
        base: stored.base,
        samples: stored.samples,
    };
    (submission, stored.state)
}

/// Leaves a model: its task ends, its records and blobs go; others are not told.
pub async fn leave(core: &Arc<Core>, model: &Arc<Model>) -> Result<(), NodeError> {
    let Some(joined) = model.joined() else { return Ok(()) };
    joined.stop.cancel();
    // The task drops its inbox when it ends: then nothing of it writes any more.
    joined.inbox.closed().await;
    let id = model.id;
    core.blocking(move |store| store.commit(vec![Write::Leave(id)])).await?;
    model.set_joined(None);
    core.states.leave(id);
    core.hub.push(Event::ModelLeft(id, model.spec().name.clone()));
    core.model_changed(model);
    core.garbage.notify_one();
    Ok(())
}
