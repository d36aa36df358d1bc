//! The end of a run: the round or the value of a metric with which a model is complete.

use borsh::{BorshDeserialize, BorshSerialize};

use super::metric::is_metric_value;
use super::{Metric, SpecError};

/// The value of a metric with which a model is complete.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct MetricTarget {
    /// The name of one of the model's metrics.
    pub metric: String,
    /// The value that is good enough.
    pub value: f64,
}

// `value` is never NaN: borsh refuses to read or write one.
impl Eq for MetricTarget {}

/// The conditions that end a run; the first one that holds ends it. Without any the run has no end.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct End {
    /// The number of the last round, from 1.
    pub max_rounds: Option<u64>,
    /// The value of a metric. A round in which a quorum measured it, or a better one, is the last one.
    pub target: Option<MetricTarget>,
}

/// Checks the end of a run with these metrics.
pub(super) fn check_end(end: &End, metrics: &[Metric]) -> Result<(), SpecError> {
    let fail = |field, problem| Err(SpecError { field, problem });
    if end.max_rounds == Some(0) {
        return fail(
            "max_rounds",
            "0 is no number of rounds: at least 1, or leave it out for a run without an end".into(),
        );
    }
    let Some(target) = &end.target else { return Ok(()) };
    if !metrics.iter().any(|metric| metric.name == target.metric) {
        let start: String = target.metric.chars().take(160).collect();
        return fail(
            "until",
            format!("{start:?} is none of the model's metrics: name it in `metrics`, too"),
        );
    }
    if !is_metric_value(target.value) {
        return fail(
            "until",
            format!(
                "{} is no value of a metric: finite and at most 1e30 in size",
                target.value
            ),
        );
    }
    Ok(())
}
