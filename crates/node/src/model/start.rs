//! The start of a joined model's task, from the store.

use std::sync::Arc;

use qres_fed::id::{CheckpointId, SpecId};
use qres_fed::record::{Content, Spec};
use qres_fed::round::{Config, Input, Machine, Restored, Submission, SubmissionState};
use qres_store::{Owner, Store, StoreError, StoredSubmission};

use super::curve::LearningCurve;
use super::task::ModelTask;
use crate::catalog::entry::Model;
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::first_comparison;

/// The time before a round's deadline, in ms, at which a node merges the submissions that it has: it leaves room to code, send
/// and fetch.
const MERGE_MARGIN_MS: u64 = 2_000;

/// Starts a joined model's task from the store. Two tasks of one model must never run: the caller holds [`NodeContext::memberships`],
/// or nothing else runs yet.
pub async fn start_model(context: &Arc<NodeContext>, model: &Arc<Model>) -> Result<(), NodeError> {
    if model.joined().is_some() {
        return Ok(());
    }
    let config = Config {
        node: context.identity.node(),
        trainers: context.config.trainers,
        merge_margin_ms: MERGE_MARGIN_MS,
        keep_rounds: context.config.keep_rounds,
        members: context.config.members,
    };
    let (spec, id) = (model.spec().clone(), model.id);
    let (now, trusted) = (context.clock.now(), context.config.trust.clone());
    let lineage = lineage(context, model);
    let (machine, noted) = context
        .disk
        .blocking(move |store| {
            let restored = restore(store, &spec, id)?;
            let (mut machine, mut outputs) = Machine::new(spec, config, restored, now);
            if !trusted.is_empty() {
                outputs.extend(machine.handle(Input::Trust(trusted), now));
            }
            let curve = LearningCurve::new(store.best(id)?);
            Ok::<_, StoreError>(((machine, outputs), (curve, releases(store, &lineage)?)))
        })
        .await?;
    ModelTask::spawn(context, model, machine, noted);
    context.model_changed(model);
    first_comparison::compare_with_all(context, model);
    Ok(())
}

/// Returns the ids of a model and of those before it in its run, the newest first, as far as this node knows them.
fn lineage(context: &NodeContext, model: &Model) -> Vec<SpecId> {
    let older = |model: &Arc<Model>| context.catalog.get(&model.spec().succeeds?);
    let first = model.spec().succeeds.and_then(|older| context.catalog.get(&older));
    let earlier = std::iter::successors(first, older).map(|model| model.id);
    // A predecessor that the catalogue no longer has may still be in the store.
    let mut all: Vec<SpecId> = [model.id]
        .into_iter()
        .chain(model.spec().succeeds)
        .chain(earlier)
        .collect();
    all.dedup();
    all
}

/// Returns the number of noisy updates that this node made in a run. The newest model's number includes those before it.
fn releases(store: &Store, lineage: &[SpecId]) -> Result<u64, StoreError> {
    let mut most = 0;
    for model in lineage {
        most = store.releases(*model)?.max(most);
    }
    Ok(most)
}

/// Reads a model from the store, without what the disk has lost: a checkpoint whose blobs are gone or damaged is recomputed
/// or fetched again.
fn restore(store: &Store, spec: &Spec, id: SpecId) -> Result<Restored, StoreError> {
    let blobs = store.blobs_of(Owner::Model(id));
    let records = store.records(id)?;
    let submissions = store.open_submissions(id)?;
    let mut verified = records.verified;
    let zero = spec.zero().0;
    let held = |content: &Content| content.blobs().all(|(_, blob)| blobs.contains(&blob));
    if !blobs.contains(&spec.checkpoint0) {
        verified.remove(&zero);
    }
    let mut newest: Option<(u64, CheckpointId, Content)> = None;
    for seal in &records.seals {
        let checkpoint = seal.record.checkpoint().id();
        if !held(&seal.record.result) {
            verified.remove(&checkpoint);
        } else if verified.contains(&checkpoint) && newest.is_none_or(|(round, ..)| round < seal.record.round) {
            newest = Some((seal.record.round, checkpoint, seal.record.result));
        }
    }
    // Results are not flushed when they are made, so after a power cut the newest may be torn: only that one is read again.
    if let Some((_, checkpoint, content)) = newest {
        for (_, blob) in content.blobs() {
            if !blobs.verify(&blob)? {
                verified.remove(&checkpoint);
            }
        }
    }
    Ok(Restored {
        contributions: records.contributions,
        seals: records.seals,
        proofs: records.proofs,
        consents: records.consents,
        verified,
        submissions: submissions.into_iter().map(submission).collect(),
        root: records.root,
    })
}

fn submission(stored: StoredSubmission) -> (Submission, SubmissionState) {
    let submission = Submission {
        id: stored.id,
        trainer: stored.trainer,
        base: stored.base,
        samples: stored.samples,
        report: stored.report,
    };
    (submission, stored.state)
}
