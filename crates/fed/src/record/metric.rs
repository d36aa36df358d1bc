//! Metrics: the numbers that a model's members tell each other about its checkpoints.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{SpecError, is_name};

/// Largest number of metrics of a model.
pub const METRICS_MAX: usize = 16;
/// Largest length of a metric's name, in bytes.
const METRIC_NAME_BYTES_MAX: usize = 64;
/// Largest size of a metric's value. Sums of 512 values times 2^40 samples then stay far below the largest f64.
pub const METRIC_VALUE_MAX: f64 = 1e30;

/// Which values of a metric are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub enum Goal {
    /// Low values are better, as for a loss.
    Lowest,
    /// High values are better, as for an accuracy.
    Highest,
}

impl Goal {
    /// Returns true if `value` is better than `other`.
    pub fn is_better(self, value: f64, other: f64) -> bool {
        match self {
            Self::Lowest => value < other,
            Self::Highest => value > other,
        }
    }
}

/// A metric that travels: members evaluate the checkpoint from which they train, and say the value in their contributions.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Metric {
    /// The name, as the trainers give it, e.g. `loss`.
    pub name: String,
    /// Which values are better.
    pub goal: Goal,
}

/// Returns true if a number may be the value of a metric.
pub fn is_metric_value(value: f64) -> bool {
    value.abs() <= METRIC_VALUE_MAX
}

/// Checks the metrics of a spec.
pub(super) fn check_metrics(metrics: &[Metric]) -> Result<(), SpecError> {
    let fail = |problem: String| {
        Err(SpecError {
            field: "metrics",
            problem,
        })
    };
    if metrics.len() > METRICS_MAX {
        return fail(format!(
            "{} metrics given, a model has at most {METRICS_MAX}",
            metrics.len()
        ));
    }
    let mut names = BTreeSet::new();
    for metric in metrics {
        let name = &metric.name;
        if !is_name(name, METRIC_NAME_BYTES_MAX) {
            let start: String = name.chars().take(160).collect();
            return fail(format!(
                "{start:?} is no name of a metric: 1 to {METRIC_NAME_BYTES_MAX} bytes, printable characters only"
            ));
        }
        if !names.insert(name) {
            return fail(format!("{name:?} is given twice: name each metric once"));
        }
    }
    Ok(())
}
