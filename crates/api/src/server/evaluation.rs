//! Reads what a request says about the evaluation of a model: its metrics, the end of its run, its best checkpoint.

use qres_fed::record::{Goal, METRICS_MAX, Metric, MetricTarget, is_metric_value};
use tonic::Status;

use super::field::{NAME_BYTES_MAX, invalid, printable, text};
use crate::pb;

/// Reads the metrics of a new model.
pub(super) fn metrics(field: &str, metrics: Vec<pb::Metric>) -> Result<Vec<Metric>, Status> {
    if metrics.len() > METRICS_MAX {
        return Err(invalid(
            field,
            format!("{} given, a model has at most {METRICS_MAX}", metrics.len()),
        ));
    }
    let read = |(i, metric): (usize, pb::Metric)| {
        let field = format!("{field}[{i}]");
        printable(&format!("{field}.name"), &metric.name)?;
        let goal = match pb::MetricGoal::try_from(metric.goal) {
            Ok(pb::MetricGoal::Lowest) => Goal::Lowest,
            Ok(pb::MetricGoal::Highest) => Goal::Highest,
            _ => {
                return Err(invalid(
                    &format!("{field}.goal"),
                    "missing or unknown: 1 if low values are better, 2 if high ones are",
                ));
            }
        };
        Ok(Metric {
            name: metric.name,
            goal,
        })
    };
    metrics.into_iter().enumerate().map(read).collect()
}

/// Reads the value of a metric that ends a run.
pub(super) fn target(field: &str, target: Option<pb::MetricTarget>) -> Result<Option<MetricTarget>, Status> {
    let Some(pb::MetricTarget { metric, value }) = target else {
        return Ok(None);
    };
    printable(&format!("{field}.metric"), &metric)?;
    if !is_metric_value(value) {
        return Err(invalid(
            &format!("{field}.value"),
            format!("{value} is no value of a metric: finite and at most 1e30 in size"),
        ));
    }
    Ok(Some(MetricTarget { metric, value }))
}

/// Returns the metric by which the best checkpoint is asked for (`best`, `best:NAME`); empty for the model's first one.
pub(super) fn best(checkpoint: &str) -> Result<Option<String>, Status> {
    let name = match checkpoint.strip_prefix("best") {
        Some("") => "",
        Some(named) if named.starts_with(':') && named.len() > 1 => &named[1..],
        _ => return Ok(None),
    };
    text("checkpoint", name.to_owned(), NAME_BYTES_MAX).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_names_a_metric_or_the_first_one() {
        assert_eq!(best("").unwrap(), None);
        assert_eq!(best("best").unwrap().as_deref(), Some(""));
        assert_eq!(best("best:loss").unwrap().as_deref(), Some("loss"));
        // Ids are hexadecimal, so these are bad ids and no metrics.
        for other in ["best:", "bestloss", "beef"] {
            assert_eq!(best(other).unwrap(), None, "{other}");
        }
        assert!(best(&format!("best:{}", "n".repeat(200))).is_err());
        assert!(best("best:a\u{1b}").is_err());
    }

    #[test]
    fn targets_are_finite() {
        let target = |value| {
            let metric = "loss".to_owned();
            target("until", Some(pb::MetricTarget { metric, value }))
        };
        assert_eq!(target(0.5).unwrap().unwrap().value, 0.5);
        for value in [f64::NAN, f64::INFINITY, -2e30] {
            assert!(target(value).is_err(), "{value}");
        }
    }
}
