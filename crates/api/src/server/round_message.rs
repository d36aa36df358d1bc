//! Converts rounds to the messages of the contract.

use qres_fed::aggregation::{self, Rejection};
use qres_node::view::{ContributionView, EvaluationView, LosingSealView, RoundView};

use super::message::{checkpoint, metric, optional, privacy_spent, text, texts};
use crate::pb;

fn evaluation(view: EvaluationView) -> pb::Evaluation {
    let summary = view.summary;
    pb::Evaluation {
        metric: Some(metric(view.metric)),
        members: summary.members,
        samples: summary.samples,
        mean: summary.mean,
        min: summary.min,
        max: summary.max,
        middle: summary.middle,
    }
}

fn judged(verdict: aggregation::Verdict) -> pb::ContributionVerdict {
    let rejected = match verdict.rejected {
        None => pb::Rejection::Unspecified,
        Some(Rejection::NoSamples) => pb::Rejection::NoSamples,
        Some(Rejection::NotSelected) => pb::Rejection::NotSelected,
        Some(Rejection::Trimmed) => pb::Rejection::Trimmed,
        Some(Rejection::AgainstRoot) => pb::Rejection::AgainstRoot,
        Some(Rejection::TooLong) => pb::Rejection::TooLong,
    };
    pb::ContributionVerdict {
        claimed: f64::from(verdict.claimed),
        weight: f64::from(verdict.weight),
        clipped: f64::from(verdict.clipped),
        distance: verdict.distance.map(f64::from),
        rejected: rejected.into(),
    }
}

fn contribution(view: ContributionView) -> pb::Contribution {
    pb::Contribution {
        id: text(&view.id),
        author: optional(&view.author),
        samples: view.samples,
        fidelity: f64::from(view.fidelity),
        total_bytes: view.bytes,
        late: view.late,
        verdict: view.verdict.map(judged),
        steps: view.report.steps,
        privacy_spent: view.spent.map(privacy_spent),
    }
}

fn losing_seal(view: LosingSealView) -> pb::LosingSeal {
    pb::LosingSeal {
        checkpoint: text(&view.checkpoint),
        sealer: text(&view.sealer),
    }
}

pub(super) fn round(view: RoundView) -> pb::Round {
    let state = match view.checkpoint {
        None => pb::RoundState::Open,
        Some(_) => pb::RoundState::Sealed,
    };
    pb::Round {
        model: text(&view.model),
        spec_id: text(&view.spec),
        round: view.round,
        state: state.into(),
        parent: text(&view.parent),
        checkpoint: view.checkpoint.map(checkpoint),
        sealers: texts(&view.sealers),
        contributions: view.contributions.into_iter().map(contribution).collect(),
        missing: texts(&view.missing),
        min_contributions: view.min_contributions,
        deadline_in_ms: view.deadline_in_ms,
        losing_seals: view.losing_seals.into_iter().map(losing_seal).collect(),
        evaluation: view.evaluation.into_iter().map(evaluation).collect(),
        closing: view.closing,
    }
}
