//! The views that callers are shown, made from the node's data.

use qres_fed::aggregation::defaults;
use qres_fed::id::{Instant, NodeId};
use qres_fed::record::{Membership, Spec, Summary};
use qres_fed::round::{CheckpointInfo, RoundInfo};
use qres_fed::{privacy, strategy};
use qres_mesh::Twin;
use qres_store::{Evaluation, StoredSubmission, Verdicts};

use super::entry::Model;
use super::fixed::FixedState;
use super::joined::Heads;
use super::known::Known;
use crate::view::{
    CheckpointView, ContributionView, EvaluationView, JoinStatus, ListedModel, LosingSealView, ModelView, PrivacySpent,
    RoundView, SubmissionView, conditions,
};

impl JoinStatus {
    /// Returns the relation of this node to a model.
    pub(crate) fn of(model: &Model) -> Self {
        match model.joined() {
            None => Self::Available,
            Some(joined) => match *joined.heads.borrow() {
                Heads { successor: Some(_), .. } => Self::Superseded,
                Heads { last: Some(_), .. } => Self::Complete,
                Heads { head, .. } if head.verified && *joined.fixed.borrow() == FixedState::Here => Self::Joined,
                _ => Self::Syncing,
            },
        }
    }
}

impl CheckpointView {
    /// Returns the view of a checkpoint.
    pub(crate) fn of(model: &Model, info: &CheckpointInfo) -> Self {
        Self {
            id: info.id,
            round: info.round,
            parent: info.parent,
            content: info.content,
            bytes: model.layout.file_bytes(),
            confirmed: info.confirmed,
        }
    }
}

impl ModelView {
    /// Returns the view of a model for the node `me`; `twin` is another process that runs with the node's identity.
    pub(crate) fn of(model: &Model, me: &NodeId, twin: Option<&Twin>) -> Self {
        let spec = model.spec();
        let joined = model.joined();
        let heads = joined.as_ref().map(|joined| *joined.heads.borrow());
        let changes = joined.as_ref().map_or(vec![], |joined| joined.changes.lock().clone());
        let successor = heads.and_then(|heads| Some(heads.successor?.0));
        let mut conditions = heads.map_or(vec![], |heads| conditions::views(spec, twin, heads.conditions));
        if successor.is_none() {
            conditions.extend(conditions::members_change(spec, me, &changes));
        }
        let releases = joined.as_ref().map(|joined| joined.releases.made());
        let spent = releases.and_then(|releases| PrivacySpent::of(spec, releases));
        Self {
            spec: spec.clone(),
            id: model.id,
            standing: JoinStatus::of(model),
            member: spec.admits(me),
            head: heads.map(|heads| CheckpointView::of(model, &heads.last.unwrap_or(heads.head))),
            trainer_config: strategy::trainer_config(spec, heads.map_or(0, |heads| heads.head.round) + 1),
            spent,
            warnings: warnings(model),
            conditions,
            successor,
            changes,
        }
    }
}

impl ListedModel {
    /// Returns the view of a model in a list, for the node `me`.
    pub(crate) fn of(known: Known, me: &NodeId, twin: Option<&Twin>) -> Self {
        match known {
            Known::Here(here) => Self::Here(Box::new(ModelView::of(&here, me, twin))),
            Known::Heard(heard) => Self::Heard(heard),
        }
    }
}

/// Says so if the default rules take fewer liars than they could, because rounds may have few contributions.
fn few_liars(spec: &Spec) -> Option<String> {
    let (n, k) = (spec.membership.authors_max(), spec.rounds.min_contributions as usize);
    let (taken, could) = (defaults::liars(n, k), defaults::liars(n, n));
    let default = matches!(spec.membership, Membership::List(_)) && spec.aggregation == defaults::rules(n, k);
    (default && taken < could).then(|| {
        format!(
            "the aggregation takes {taken} liars among {n} members, because a round may have {k} contributions: with \
             min_contributions {} it takes {could}",
            2 * could + 1
        )
    })
}

/// Says so if the members' privacy is spent before the run ends: they vote by contributing, so the last checkpoints would stay
/// unconfirmed. The votes of a run's end cost nothing.
fn budget_before_end(spec: &Spec) -> Option<String> {
    let gaussian = privacy::gaussian(spec)?;
    gaussian.epsilon_max?;
    let end = spec
        .end
        .max_rounds
        .map_or(u64::MAX, |last| last.saturating_add(spec.earlier_rounds));
    let affordable = end < u64::MAX && gaussian.may_release(end.saturating_sub(1));
    (!affordable).then(|| {
        "members stop when epsilon_max is spent, and the last checkpoints then stay unconfirmed: set max_rounds to a number of \
         rounds that it pays for"
            .to_owned()
    })
}

/// Returns what a person should know before relying on a model.
fn warnings(model: &Model) -> Vec<String> {
    let spec = model.spec();
    let k = spec.rounds.min_contributions as usize;
    let mut warnings = match &spec.membership {
        Membership::Open => vec![format!(
            "open membership: anyone may contribute, so whoever runs {k} identities owns this model"
        )],
        Membership::List(members) if k < spec.quorum() => vec![format!(
            "a round needs {k} of {} members, fewer than a majority: two sides of a partition can both go on, and the \
             shorter history is lost when they meet again",
            members.len()
        )],
        Membership::List(_) => vec![],
    };
    warnings.extend(few_liars(spec));
    warnings.extend(budget_before_end(spec));
    warnings
}

/// Returns the metrics that were measured, each with its values.
fn evaluation(spec: &Spec, summaries: &[Option<Summary>]) -> Vec<EvaluationView> {
    let measured = spec.metrics.iter().zip(summaries);
    measured
        .filter_map(|(metric, summary)| {
            Some(EvaluationView {
                metric: metric.clone(),
                summary: (*summary)?,
            })
        })
        .collect()
}

impl RoundView {
    /// Adds the verdicts of the aggregation that made the round's checkpoint.
    pub(crate) fn judge(&mut self, verdicts: &Verdicts) {
        for contribution in &mut self.contributions {
            let own = verdicts.iter().find(|(id, _)| *id == contribution.id);
            contribution.verdict = own.map(|(_, verdict)| *verdict);
        }
    }

    /// Adds what the round measured, where its contributions are no longer in memory.
    pub(crate) fn evaluate(&mut self, spec: &Spec, evaluation: &Evaluation) {
        if self.evaluation.is_empty() {
            self.evaluation = self::evaluation(spec, evaluation);
        }
    }

    /// Returns the view of a round at the time `now`.
    pub(crate) fn of(model: &Model, info: RoundInfo, now: Instant) -> Self {
        Self {
            spec: model.id,
            model: model.spec().name.clone(),
            round: info.round,
            parent: info.parent,
            checkpoint: info.checkpoint.as_ref().map(|c| CheckpointView::of(model, c)),
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
                    report: c.report,
                    spent: c.author.and_then(|_| PrivacySpent::of(model.spec(), c.releases)),
                    verdict: None,
                })
                .collect(),
            evaluation: evaluation(model.spec(), &info.evaluation),
            closing: info.closing,
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
}

impl SubmissionView {
    /// Returns the view of a submission.
    pub(crate) fn of(stored: &StoredSubmission) -> Self {
        Self {
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
}
