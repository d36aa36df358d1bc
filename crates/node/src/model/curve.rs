//! The learning curve of a model: what its rounds measured, and the best checkpoint by each metric.

use std::collections::BTreeMap;

use qres_fed::id::CheckpointId;
use qres_fed::record::{Spec, Summary};
use qres_fed::round::{Machine, RoundInfo};
use qres_store::{Best, Write};

use crate::catalog::entry::Model;

/// The most rounds that are looked at after one event: a node that catches up notes the newest ones.
const ROUNDS_MAX: u64 = 256;

/// What was noted so far.
pub struct LearningCurve {
    /// The best checkpoints, by the places of the metrics in the spec.
    best: BTreeMap<u8, Best>,
    /// The newest round whose figures are noted, and its checkpoint.
    noted: (u64, Option<CheckpointId>),
    /// The newest confirmed round whose figures count for the best checkpoint.
    judged: u64,
}

impl LearningCurve {
    /// Begins with the best checkpoints that the store has.
    pub fn new(best: Vec<(u8, Best)>) -> Self {
        Self {
            best: best.into_iter().collect(),
            noted: (0, None),
            judged: 0,
        }
    }

    /// Notes the rounds up to the head, and returns what is to be stored.
    pub fn head_moved(&mut self, model: &Model, machine: &Machine) -> Vec<Write> {
        let head = machine.head();
        if model.spec().metrics.is_empty() || self.noted == (head.round, Some(head.id)) {
            return vec![];
        }
        let first = (self.noted.0.min(head.round.saturating_sub(1)) + 1).max(head.round.saturating_sub(ROUNDS_MAX) + 1);
        self.noted = (head.round, Some(head.id));
        let rounds = (first..=head.round).filter_map(|round| machine.round(round));
        rounds.filter_map(|round| evaluation(model, round)).collect()
    }

    /// Looks for better checkpoints among the newly confirmed ones, and returns what is to be stored.
    pub fn confirmed(&mut self, model: &Model, machine: &Machine) -> Vec<Write> {
        let confirmed = machine.confirmed_head().round;
        let first = (self.judged + 1).max(confirmed.saturating_sub(ROUNDS_MAX) + 1);
        if model.spec().metrics.is_empty() || first > confirmed {
            return vec![];
        }
        self.judged = confirmed;
        let mut writes = vec![];
        for round in (first..=confirmed).filter_map(|round| machine.round(round)) {
            for (metric, summary) in (0u8..).zip(&round.evaluation) {
                let best = summary.and_then(|summary| self.better(model.spec(), machine, metric, &round, summary));
                writes.extend(best.map(|best| Write::Best {
                    spec: model.id,
                    metric,
                    best,
                }));
            }
        }
        writes
    }

    /// Keeps the parent of a round as the best checkpoint by a metric, if it is better than the one before.
    fn better(
        &mut self,
        spec: &Spec,
        machine: &Machine,
        metric: u8,
        round: &RoundInfo,
        summary: Summary,
    ) -> Option<Best> {
        let goal = spec.metrics.get(usize::from(metric))?.goal;
        let before = self.best.get(&metric);
        if before.is_some_and(|best| !goal.is_better(summary.middle, best.value)) {
            return None;
        }
        // A node that adopted a later checkpoint never had the weights.
        let measured = machine.checkpoint(&round.parent).filter(|parent| parent.verified)?;
        let best = Best {
            checkpoint: measured.id,
            round: measured.round,
            parent: measured.parent,
            content: measured.content,
            value: summary.middle,
        };
        self.best.insert(metric, best);
        Some(best)
    }
}

fn evaluation(model: &Model, round: RoundInfo) -> Option<Write> {
    let measured = round.evaluation.iter().any(Option::is_some);
    let checkpoint = round.checkpoint.filter(|_| measured)?;
    Some(Write::Evaluation {
        spec: model.id,
        round: round.round,
        checkpoint: checkpoint.id,
        evaluation: round.evaluation,
    })
}
