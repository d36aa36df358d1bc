//! The figures of rounds and of the contributions to them.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use qres_fed::aggregation;
use qres_fed::record::ModelName;

/// The upper ends of the buckets of a round's time, in seconds: from a test's rounds to those of a day.
const ROUND_BUCKETS_S: [f64; 16] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0,
];

/// The way in which a head moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The round has the contributions of all members.
    Complete,
    /// The round closed without some of the members.
    Partial,
    /// The round was closed by others while this node was away; it took the round over.
    CaughtUp,
    /// The head moved to another branch: rounds that this node stood on were replaced.
    Replaced,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Complete, Self::Partial, Self::CaughtUp, Self::Replaced];

    fn label(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::CaughtUp => "caught_up",
            Self::Replaced => "replaced",
        }
    }
}

/// The judgement on a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Taken: it is on the head's checkpoint, so it counts in the open round.
    OpenRound,
    /// Taken: it is on another checkpoint, so it may count as late work or as a vote.
    OtherRound,
    /// Refused: its signature is wrong, or it is not its author who sends it.
    Signature,
    /// Refused: its author is no member.
    Membership,
    /// Refused: it breaks the rules of the model.
    Rules,
    /// Refused: its update is off the schema, or not finite.
    Update,
}

impl Verdict {
    /// All judgements.
    pub const ALL: [Self; 6] = [
        Self::OpenRound,
        Self::OtherRound,
        Self::Signature,
        Self::Membership,
        Self::Rules,
        Self::Update,
    ];

    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenRound => ("taken", "open_round"),
            Self::OtherRound => ("taken", "other_round"),
            Self::Signature => ("refused", "signature"),
            Self::Membership => ("refused", "membership"),
            Self::Rules => ("refused", "rules"),
            Self::Update => ("refused", "update"),
        }
    }
}

/// What an aggregation made of a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It has at least half of the weight that it claims.
    Used,
    /// It has less than half of the weight that it claims, or was shortened to less than half of its length.
    Reduced,
    /// It has no weight.
    Rejected,
}

impl Judgement {
    /// All judgements.
    pub const ALL: [Self; 3] = [Self::Used, Self::Reduced, Self::Rejected];

    /// Returns the judgement of a verdict.
    pub fn of(verdict: &aggregation::Verdict) -> Self {
        match verdict {
            _ if verdict.rejected.is_some() => Self::Rejected,
            _ if verdict.weight < verdict.claimed / 2.0 || verdict.clipped < 0.5 => Self::Reduced,
            _ => Self::Used,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Reduced => "reduced",
            Self::Rejected => "rejected",
        }
    }
}

/// A round that ended on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundEnd {
    /// The way in which the head moved.
    pub outcome: Outcome,
    /// The rounds that ended in this way; above 1 only when a node catches up.
    pub rounds: u64,
    /// The contributions in the round's checkpoint, late ones left out.
    pub fresh: u64,
    /// The late contributions in the round's checkpoint.
    pub late: u64,
    /// The members that are not in the round's checkpoint.
    pub missing: u64,
    /// The time from the first contribution that this node knew to the move of the head; `None` if the node was away.
    pub took: Option<Duration>,
    /// The time from the first contribution to the last one that counts.
    pub waited: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    model: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabels {
    model: String,
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    model: String,
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JudgementLabels {
    model: String,
    judgement: &'static str,
}

type Times = Family<ModelLabel, Histogram, fn() -> Histogram>;

/// The parts of a round's checkpoint.
const PARTS: [&str; 3] = ["fresh", "late", "missing"];

/// The figures of rounds, by model.
#[derive(Debug)]
pub struct RoundMetrics {
    rounds: Family<OutcomeLabels, Counter>,
    parts: Family<PartLabels, Counter>,
    took: Times,
    waited: Times,
    contributions: Family<VerdictLabels, Counter>,
    aggregated: Family<JudgementLabels, Counter>,
}

impl Default for RoundMetrics {
    fn default() -> Self {
        let times = || Times::new_with_constructor(|| Histogram::new(ROUND_BUCKETS_S));
        Self {
            rounds: Family::default(),
            parts: Family::default(),
            took: times(),
            waited: times(),
            contributions: Family::default(),
            aggregated: Family::default(),
        }
    }
}

impl RoundMetrics {
    /// Makes the series of a model that was joined, so that they begin at 0: otherwise a rate misses the first event.
    pub fn joined(&self, model: &ModelName) {
        for outcome in Outcome::ALL {
            drop(self.rounds.get_or_create(&outcome_labels(model, outcome)));
        }
        for part in PARTS {
            drop(self.parts.get_or_create(&part_labels(model, part)));
        }
        for verdict in Verdict::ALL {
            drop(self.contributions.get_or_create(&verdict_labels(model, verdict)));
        }
        for judgement in Judgement::ALL {
            drop(self.aggregated.get_or_create(&judgement_labels(model, judgement)));
        }
        drop(self.took.get_or_create(&label(model)));
        drop(self.waited.get_or_create(&label(model)));
    }

    /// Removes the series of a model that was left, so that their number is bounded by the joined models.
    pub fn left(&self, model: &ModelName) {
        for outcome in Outcome::ALL {
            self.rounds.remove(&outcome_labels(model, outcome));
        }
        for part in PARTS {
            self.parts.remove(&part_labels(model, part));
        }
        for verdict in Verdict::ALL {
            self.contributions.remove(&verdict_labels(model, verdict));
        }
        for judgement in Judgement::ALL {
            self.aggregated.remove(&judgement_labels(model, judgement));
        }
        self.took.remove(&label(model));
        self.waited.remove(&label(model));
    }

    /// Counts what an aggregation of this node made of a contribution.
    pub fn judged(&self, model: &ModelName, judgement: Judgement) {
        self.aggregated.get_or_create(&judgement_labels(model, judgement)).inc();
    }

    /// Counts a round that ended.
    pub fn ended(&self, model: &ModelName, end: &RoundEnd) {
        self.rounds
            .get_or_create(&outcome_labels(model, end.outcome))
            .inc_by(end.rounds);
        for (part, count) in PARTS.into_iter().zip([end.fresh, end.late, end.missing]) {
            self.parts.get_or_create(&part_labels(model, part)).inc_by(count);
        }
        for (times, time) in [(&self.took, end.took), (&self.waited, end.waited)] {
            if let Some(time) = time {
                times.get_or_create(&label(model)).observe(time.as_secs_f64());
            }
        }
    }

    /// Counts a contribution that was judged.
    pub fn contribution(&self, model: &ModelName, verdict: Verdict) {
        self.contributions.get_or_create(&verdict_labels(model, verdict)).inc();
    }

    /// Registers these figures.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "qres_rounds",
            "Rounds by the way in which this node's head came to them (complete, partial, caught_up, replaced)",
            self.rounds.clone(),
        );
        registry.register(
            "qres_round_contributions",
            "Contributions in the checkpoints of rounds, by part (fresh, late), and members missing in them (missing)",
            self.parts.clone(),
        );
        registry.register_with_unit(
            "qres_round_duration",
            "Time from the first contribution of a round that this node knew to the move of its head",
            Unit::Seconds,
            self.took.clone(),
        );
        registry.register_with_unit(
            "qres_round_last_contribution_wait",
            "Time from the first contribution of a round to the last one that counts in it",
            Unit::Seconds,
            self.waited.clone(),
        );
        registry.register(
            "qres_contributions",
            "Contributions by verdict (taken, refused) and reason",
            self.contributions.clone(),
        );
        registry.register(
            "qres_aggregated_contributions",
            "Contributions in the aggregations that this node computed, by judgement (used, reduced, rejected)",
            self.aggregated.clone(),
        );
    }
}

fn label(model: &ModelName) -> ModelLabel {
    ModelLabel {
        model: model.to_string(),
    }
}

fn outcome_labels(model: &ModelName, outcome: Outcome) -> OutcomeLabels {
    OutcomeLabels {
        model: model.to_string(),
        outcome: outcome.label(),
    }
}

fn part_labels(model: &ModelName, part: &'static str) -> PartLabels {
    PartLabels {
        model: model.to_string(),
        part,
    }
}

fn verdict_labels(model: &ModelName, verdict: Verdict) -> VerdictLabels {
    let (verdict, reason) = verdict.labels();
    VerdictLabels {
        model: model.to_string(),
        verdict,
        reason,
    }
}

fn judgement_labels(model: &ModelName, judgement: Judgement) -> JudgementLabels {
    JudgementLabels {
        model: model.to_string(),
        judgement: judgement.label(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &RoundMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn the_series_of_a_model_live_as_long_as_it_is_joined() {
        let metrics = RoundMetrics::default();
        let model: ModelName = "a/b".parse().unwrap();
        metrics.joined(&model);
        metrics.ended(
            &model,
            &RoundEnd {
                outcome: Outcome::Partial,
                rounds: 1,
                fresh: 2,
                late: 1,
                missing: 3,
                took: Some(Duration::from_secs(2)),
                waited: None,
            },
        );
        metrics.contribution(&model, Verdict::Rules);
        let page = text(&metrics);
        for line in [
            "qres_rounds_total{model=\"a/b\",outcome=\"partial\"} 1",
            "qres_rounds_total{model=\"a/b\",outcome=\"complete\"} 0",
            "qres_round_contributions_total{model=\"a/b\",part=\"missing\"} 3",
            "qres_round_duration_seconds_sum{model=\"a/b\"} 2.0",
            "qres_round_last_contribution_wait_seconds_count{model=\"a/b\"} 0",
            "qres_contributions_total{model=\"a/b\",verdict=\"refused\",reason=\"rules\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in:\n{page}");
        }
        metrics.left(&model);
        let page = text(&metrics);
        assert!(!page.contains("a/b"), "{page}");
    }
}
