//! The start of a joined model's task, from the store.

use std::sync::Arc;

use qres_fed::id::{CheckpointId, NodeId, SpecId};
use qres_fed::privacy;
use qres_fed::record::{Content, Spec};
use qres_fed::round::{Config, Input, Machine, Restored, Submission, SubmissionState};
use qres_store::{Owner, Store, StoreError, StoredSubmission};

use super::curve::LearningCurve;
use super::task::ModelTask;
use crate::catalog::entry::Model;
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::releases::{self, inherited};
use crate::{first_comparison, fixed_tensors};

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
    let me = context.identity.node();
    let (machine, noted) = context
        .disk
        .blocking(move |store| {
            let restored = restore(store, &spec, id)?;
            let releases = count_releases(store, (&spec, id), &me, &restored)?;
            let (mut machine, mut outputs) = Machine::new(spec, config, restored, now);
            if !trusted.is_empty() {
                outputs.extend(machine.handle(Input::Trust(trusted), now));
            }
            let curve = LearningCurve::new(store.best(id)?);
            Ok::<_, StoreError>(((machine, outputs), (curve, releases)))
        })
        .await?;
    ModelTask::spawn(context, model, machine, noted);
    context.model_changed(model);
    first_comparison::compare_with_all(context, model);
    fixed_tensors::look(context, model);
    Ok(())
}

/// Returns how many noisy updates this node has made in the run, and stores it where it comes from a spec before this one, or from a
/// contribution that a peer sent back to an old data directory.
fn count_releases(
    store: &Store,
    (spec, id): (&Spec, SpecId),
    me: &NodeId,
    restored: &Restored,
) -> Result<u64, StoreError> {
    let Some(gaussian) = privacy::gaussian(spec) else {
        return Ok(0);
    };
    let own = restored
        .contributions
        .iter()
        .filter(|signed| signed.record.author == *me);
    let said = own.map(|signed| signed.record.releases).max().unwrap_or(0);
    let stored = store.releases()?;
    let count = inherited(spec, id, &gaussian, &stored).max(said);
    let before = stored.iter().find(|row| row.spec == id).map_or(0, |row| row.count);
    // A node whose disk is full starts all the same, and then there is nothing new to write.
    if count > before {
        store.commit(vec![releases::write(spec, id, &gaussian, count)])?;
    }
    Ok(count)
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
