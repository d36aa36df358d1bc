//! The views that callers are shown, made from the engine's state.

use std::time::Duration;

use qres_fed::record::Membership;
use qres_fed::round::{CheckpointInfo, RoundInfo};
use qres_fed::strategy;

use crate::catalog::Model;
use crate::catalog::known::Known;
use crate::context::NodeContext;
use crate::view::conditions;
use crate::view::{
    CheckpointView, ContributionView, ListedModel, LosingSealView, ModelView, RoundView, SubmissionView,
};
use qres_store::StoredSubmission;

/// Returns the [`CheckpointView`] of a checkpoint.
pub fn checkpoint(model: &Model, info: &CheckpointInfo) -> CheckpointView {
    CheckpointView {
        id: info.id,
        round: info.round,
        parent: info.parent,
        weights: info.weights,
        bytes: model.layout.file_bytes(),
        confirmed: info.confirmed,
    }
}

/// Returns the [`ModelView`] of a model.
pub fn model(context: &NodeContext, model: &Model) -> ModelView {
    let spec = model.spec();
    let head = model.joined().map(|joined| *joined.heads.borrow());
    ModelView {
        spec: spec.clone(),
        id: model.id,
        standing: context.standing(model),
        member: spec.admits(&context.identity.node()),
        head: head.map(|heads| checkpoint(model, &heads.head)),
        trainer_config: strategy::trainer_config(&spec.strategy),
        warnings: warnings(model),
        conditions: head.map_or(vec![], |heads| {
            let twin = context.mesh.twin().borrow().clone();
            conditions::views(spec, twin.as_ref(), heads.conditions)
        }),
    }
}

/// Returns the [`ListedModel`] of a model in a list.
pub fn listed(context: &NodeContext, known: Known) -> ListedModel {
    match known {
        Known::Here(here) => ListedModel::Here(Box::new(model(context, &here))),
        Known::Heard(heard) => ListedModel::Heard(heard),
    }
}

/// Returns what a person should know before relying on a model.
fn warnings(model: &Model) -> Vec<String> {
    let spec = model.spec();
    let k = spec.rounds.min_contributions as usize;
    match &spec.membership {
        Membership::Open => vec![format!(
            "open membership: anyone may contribute, so whoever runs {k} identities owns this model"
        )],
        Membership::List(members) if k < spec.quorum() => vec![format!(
            "a round needs {k} of {} members, fewer than a majority: two sides of a partition can both go on, and the \
             shorter history is lost when they meet again",
            members.len()
        )],
        Membership::List(_) => vec![],
    }
}

/// Returns the [`RoundView`] of a round.
pub fn round(context: &NodeContext, model: &Model, info: RoundInfo) -> RoundView {
    let now = context.clock.now();
    RoundView {
        spec: model.id,
        model: model.spec().name.clone(),
        round: info.round,
        parent: info.parent,
        checkpoint: info.checkpoint.as_ref().map(|c| checkpoint(model, c)),
        sealers: info.sealers,
        contributions: info
            .contributions
            .into_iter()
            .map(|c| ContributionView {
                id: c.id,
                author: c.author,
                samples: c.samples,
                fidelity: c.fidelity,
                bytes: c.bytes,
                late: c.late,
            })
            .collect(),
        missing: info.missing,
        min_contributions: model.spec().rounds.min_contributions,
        deadline_in_ms: info.deadline.map(|at| at.since_ms(now)),
        losing_seals: info
            .losing_seals
            .into_iter()
            .map(|(checkpoint, sealer)| LosingSealView { checkpoint, sealer })
            .collect(),
    }
}

/// Returns the [`SubmissionView`] of a submission.
pub fn submission(stored: &StoredSubmission) -> SubmissionView {
    SubmissionView {
        id: stored.id,
        spec: stored.spec,
        model: stored.model.clone(),
        trainer: stored.trainer.clone(),
        base: stored.base,
        samples: stored.samples,
        metrics: stored.metrics.clone(),
        bytes: stored.bytes,
        at_unix_ms: stored.at_unix_ms,
        state: stored.state.clone(),
    }
}

/// Returns whole milliseconds, at most [`u64::MAX`].
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
