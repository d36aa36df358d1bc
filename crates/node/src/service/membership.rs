//! Joining and leaving a model.

use std::sync::Arc;

use qres_fed::aggregation::Aggregation;
use qres_fed::codec::Codec;
use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::{Spec, TensorKind};
use qres_fed::round::SubmissionState;
use qres_fed::{privacy, strategy};
use qres_store::{Owner, Store, StoreError, StoredSubmission, Write};
use qres_wire::clock::unix_ms;

use crate::catalog::entry::Model;
use crate::catalog::known::Known;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::model::start::start_model;
use crate::view::{Event, ModelView, SubmissionView};
use crate::{announced, fixed_tensors};

/// Joins a known model: the join is durable before the model runs. The work goes on to its end if the caller goes away.
pub async fn join(context: &Arc<NodeContext>, known: &Known) -> Result<ModelView, NodeError> {
    let (owner, known) = (context.clone(), known.clone());
    context
        .lifecycle
        .to_the_end(async move { join_now(&owner, &known).await })
        .await
}

async fn join_now(context: &Arc<NodeContext>, known: &Known) -> Result<ModelView, NodeError> {
    context.lifecycle.refuse_if_draining()?;
    context.refuse_if_bootstrap()?;
    let model = announced::whole(context, known).await?;
    if model.joined().is_some() {
        return Ok(context.model_view(&model));
    }
    joinable(context, &model)?;
    // The guard keeps a predecessor's head, which is this model's checkpoint 0, while it changes hands.
    let _kept = context.disk.keep_new_blobs().await;
    let _turn = context.memberships.lock().await;
    let (model, was_here) = context.catalog.add(model);
    if model.joined().is_some() {
        return Ok(context.model_view(&model));
    }
    if let Err(error) = commit_join(context, &model).await {
        if !was_here {
            context.catalog.remove(&model.id);
        }
        return Err(error);
    }
    context.catalog.heard().forget(&model.id);
    start_model(context, &model).await?;
    Ok(context.model_view(&model))
}

/// Makes the join durable. The caller holds [`NodeContext::memberships`].
async fn commit_join(context: &Arc<NodeContext>, model: &Arc<Model>) -> Result<(), NodeError> {
    let spec = model.spec();
    let same_name = context.catalog.joined_of(&spec.name);
    if let Some(other) = same_name.as_ref().filter(|other| spec.succeeds != Some(other.id)) {
        return Err(NodeError::new(
            Reason::NameInUse,
            format!(
                "this node has joined another model named {} ({}): leave it first",
                spec.name, other.id
            ),
        )
        .field("model"));
    }
    borrow_first(context, model).await?;
    let mut writes = vec![
        Write::Spec(model.signed.clone()),
        Write::Join(model.id),
        Write::ForgetHeard(model.id),
    ];
    writes.extend(carry_personal(context, spec));
    take_over(context, same_name.as_ref(), writes).await
}

/// Takes the first weights and the fixed tensors over from another model that has them, if all readers of `model` may read that one. Otherwise they
/// are fetched from peers that have them under `model`: a node that names a digest need not have the right to the bytes.
async fn borrow_first(context: &Arc<NodeContext>, model: &Model) -> Result<(), NodeError> {
    let (wider, to) = (context.catalog.wider(model), Owner::Model(model.id));
    let first = [Some(model.spec().checkpoint0), model.spec().fixed];
    let borrow = move |store: &Store| {
        first.iter().flatten().try_for_each(|blob| {
            let mut others = wider.iter().map(|other| store.blobs_of(Owner::Model(other.id)));
            let found = others.find(|blobs| blobs.contains(blob));
            found.map_or(Ok(()), |blobs| blobs.share(blob, to).map(|_| ()))
        })
    };
    if let Err(error) = context.disk.blocking(borrow).await {
        tracing::debug!(%error, "the first weights are fetched");
    }
    Ok(())
}

/// Returns the write that gives the trainers of a successor their personal tensors. A spec that only says that it succeeds another one
/// may have other personal tensors: then nothing is carried.
pub fn carry_personal(context: &NodeContext, spec: &Spec) -> Option<Write> {
    let (from, to) = (spec.succeeds?, spec.fixed.map(|_| spec.id())?);
    let old = context.catalog.get(&from)?;
    let personal = |spec: &Spec| spec.tensors.of_kind(TensorKind::Personal);
    (personal(old.spec()) == personal(spec)).then_some(Write::CarryPersonal { from, to })
}

/// Refuses a model in which this node cannot ([`Reason::RuleUnknown`]) or may not ([`Reason::NotAMember`]) take part.
fn joinable(context: &NodeContext, model: &Model) -> Result<(), NodeError> {
    let spec = model.spec();
    let known = strategy::check_spec(spec)
        .and_then(|()| Aggregation::of(spec).map(|_| ()))
        .and_then(|()| Codec::of(&spec.codec).map(|_| ()))
        .and_then(|()| privacy::check_spec(spec));
    known.map_err(|error| {
        NodeError::new(
            Reason::RuleUnknown,
            format!(
                "model {} needs what this qres-daemon does not know ({error}): upgrade it",
                spec.name
            ),
        )
        .field("model")
    })?;
    if !model.readable_by(&context.identity.node()) {
        return Err(NodeError::new(
            Reason::NotAMember,
            format!(
                "model {} has a member list, this node ({}) is not on it, and a list governs reading too: its creator can make a \
                 successor that lists this node",
                spec.name,
                context.identity.node()
            ),
        )
        .field("model"));
    }
    Ok(())
}

/// Leaves a model: its task ends, and its records and blobs go. Other nodes are not told.
pub async fn leave(context: &Arc<NodeContext>, model: &Arc<Model>) -> Result<(), NodeError> {
    let (owner, model) = (context.clone(), model.clone());
    let leave = async move {
        // If leaving fails, the model goes on with all its blobs.
        let _kept = owner.disk.keep_new_blobs().await;
        let _turn = owner.memberships.lock().await;
        take_over(&owner, Some(&model), vec![]).await
    };
    context.lifecycle.to_the_end(leave).await
}

/// Commits the writes of a new model in one transaction with leaving the model `from`. The ended model that `from` succeeded is
/// left before, or this node would go on from it to `from` again. The caller holds [`NodeContext::memberships`].
pub async fn take_over(
    context: &Arc<NodeContext>,
    from: Option<&Arc<Model>>,
    writes: Vec<Write>,
) -> Result<(), NodeError> {
    if let Some(from) = from {
        leave_ended(context, from).await?;
    }
    replace(context, from, writes).await
}

/// Leaves the ended models that a model succeeded, the oldest first. The caller holds [`NodeContext::memberships`].
pub async fn leave_ended(context: &Arc<NodeContext>, model: &Model) -> Result<(), NodeError> {
    let mut ended = vec![];
    let mut succeeds = model.spec().succeeds;
    while let Some(older) = succeeds.and_then(|older| context.catalog.get(&older)) {
        succeeds = older.spec().succeeds;
        ended.extend(older.joined().is_some().then_some(older));
    }
    while let Some(older) = ended.pop() {
        replace(context, Some(&older), vec![]).await?;
    }
    Ok(())
}

async fn replace(context: &Arc<NodeContext>, from: Option<&Arc<Model>>, writes: Vec<Write>) -> Result<(), NodeError> {
    let running = from.and_then(|model| Some((model, model.joined()?)));
    let Some((model, joined)) = running else {
        return Ok(context.disk.blocking(move |store| store.commit(writes)).await?);
    };
    joined.stop.cancel();
    // The task drops its inbox when it ends: from then on it writes nothing.
    joined.inbox.closed().await;
    let (id, me) = (model.id, context.identity.node());
    let left = context
        .disk
        .blocking(move |store| {
            let (left, ended) = farewell(store, id, &me)?;
            // The new model takes over what the old one has, before that goes.
            store.commit(writes.into_iter().chain(left).collect())?;
            Ok::<_, StoreError>(ended)
        })
        .await;
    model.set_joined(None);
    let ended = match left {
        Ok(ended) => ended,
        Err(error) => {
            // The model was not left, so it goes on.
            start_model(context, model).await?;
            return Err(error.into());
        }
    };
    fixed_tensors::give_up(context, model);
    for record in context.states.leave(id) {
        context.give_up_state(&record);
    }
    for submission in &ended {
        context.metrics.submission(&submission.model, &submission.state);
        context.events.push(Event::Submission(SubmissionView::of(submission)));
    }
    context.metrics.left(&id);
    context.events.push(Event::ModelLeft(id, model.spec().name.clone()));
    context.model_changed(model);
    context.disk.garbage.notify_one();
    Ok(())
}

/// Returns the writes of leaving a model, and the submissions that end with it. All records are forgotten but this node's own
/// contributions and consent (if it joins again, it must not sign another one against them), and the trainers' open submissions
/// become final.
fn farewell(store: &Store, id: SpecId, me: &NodeId) -> Result<(Vec<Write>, Vec<StoredSubmission>), StoreError> {
    let mut writes = vec![Write::Leave(id)];
    let records = store.records(id)?;
    let consents = records.consents.into_iter();
    writes.extend(
        consents
            .filter(|signed| signed.record.author == *me)
            .map(Write::Consent),
    );
    let contributions = records.contributions.into_iter();
    writes.extend(
        contributions
            .filter(|signed| signed.record.author == *me)
            .map(Write::Contribution),
    );
    let mut ended = store.open_submissions(id)?;
    let now = unix_ms();
    for submission in &mut ended {
        submission.state = left(&submission.state);
        submission.final_unix_ms = Some(now);
        writes.push(Write::SubmissionState {
            id: submission.id,
            state: submission.state.clone(),
            final_unix_ms: Some(now),
        });
    }
    Ok((writes, ended))
}

/// Returns the final state of a submission whose model this node leaves.
fn left(state: &SubmissionState) -> SubmissionState {
    match state {
        SubmissionState::Pending => SubmissionState::Rejected {
            reason: "this node left the model before the submission was merged: join again and submit again".into(),
        },
        SubmissionState::Merged { .. } | SubmissionState::Carried { .. } => SubmissionState::Superseded {
            reason: "this node left the model: what becomes of its contribution is no longer followed here".into(),
        },
        SubmissionState::Sealed { .. } | SubmissionState::Rejected { .. } | SubmissionState::Superseded { .. } => {
            state.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::id::{BlobId, CheckpointId, ContributionId, SubmissionId};
    use qres_fed::record::{Contribution, Report};
    use qres_store::StoreOptions;
    use qres_wire::identity::Identity;

    use super::*;
    use crate::tests::pending;

    fn contribution(spec: SpecId, by: &Identity) -> Write {
        Write::Contribution(by.sign(Contribution {
            spec,
            parent: CheckpointId([1; 32]),
            round: 1,
            author: by.node(),
            samples: 1,
            update: BlobId([2; 32]),
            update_bytes: 1,
            fidelity: 1.0,
            source: None,
            report: Report::default(),
            releases: 0,
        }))
    }

    #[test]
    fn leaving_answers_for_open_submissions_and_keeps_what_must_not_be_signed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let (me, other, spec) = (Identity::ephemeral(), Identity::ephemeral(), SpecId([9; 32]));
        let merged = StoredSubmission {
            state: SubmissionState::Merged {
                contribution: ContributionId([3; 32]),
            },
            ..pending(spec, 2)
        };
        store
            .commit(vec![
                Write::Join(spec),
                contribution(spec, &me),
                contribution(spec, &other),
                Write::Submission(pending(spec, 1)),
                Write::Submission(merged),
            ])
            .unwrap();
        let (writes, ended) = farewell(&store, spec, &me.node()).unwrap();
        store.commit(writes).unwrap();
        let kept = store.records(spec).unwrap().contributions;
        assert_eq!(kept.iter().map(|c| c.record.author).collect::<Vec<_>>(), [me.node()]);
        assert_eq!(ended.len(), 2);
        assert!(store.open_submissions(spec).unwrap().is_empty(), "they expire one day");
        let state = |n| store.submission(SubmissionId([n; 32])).unwrap().unwrap().state;
        assert!(matches!(state(1), SubmissionState::Rejected { .. }));
        assert!(matches!(state(2), SubmissionState::Superseded { .. }));
    }
}
