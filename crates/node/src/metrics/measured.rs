//! The metrics that a model's members measured, as gauges.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use qres_fed::record::{Metric, ModelName, Summary};

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct MetricLabels {
    model: String,
    metric: String,
}

/// The newest values of models' metrics: at most 16 series for each joined model.
#[derive(Debug, Default)]
pub struct MeasuredMetrics {
    means: Family<MetricLabels, Gauge<f64, AtomicU64>>,
    shown: Mutex<BTreeSet<MetricLabels>>,
}

impl MeasuredMetrics {
    /// Notes what the newest sealed round of a model measured; a metric without a measurement keeps its value.
    pub fn measured<'a>(&self, model: &ModelName, metrics: impl Iterator<Item = (&'a Metric, &'a Option<Summary>)>) {
        for (metric, summary) in metrics {
            let Some(summary) = summary else { continue };
            let labels = MetricLabels {
                model: model.to_string(),
                // The names come from the model's creator, and the library does not escape what would end a label.
                metric: metric.name.replace(['"', '\\'], "_"),
            };
            self.means.get_or_create(&labels).set(summary.mean);
            self.shown.lock().insert(labels);
        }
    }

    /// Removes the series of a model that was left.
    pub fn left(&self, model: &ModelName) {
        let model = model.to_string();
        self.shown.lock().retain(|labels| {
            let gone = labels.model == model;
            if gone {
                self.means.remove(labels);
            }
            !gone
        });
    }

    /// Registers these figures.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "qres_model_metric",
            "A metric of a model: the mean over the members, by samples, as the newest sealed round measured it on its parent",
            self.means.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::record::Goal;

    use super::*;

    #[test]
    fn a_metric_is_shown_while_its_model_is_joined() {
        let metrics = MeasuredMetrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let page = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let model: ModelName = "a/b".parse().unwrap();
        let metric = |name: &str| Metric {
            name: name.into(),
            goal: Goal::Lowest,
        };
        let summary = Summary {
            members: 3,
            samples: 9,
            mean: 0.25,
            min: 0.1,
            max: 0.5,
            middle: 0.2,
        };
        let named = [metric("loss"), metric("a\"b\\"), metric("unmeasured")];
        metrics.measured(&model, named.iter().zip(&[Some(summary), Some(summary), None]));
        for line in [
            "qres_model_metric{model=\"a/b\",metric=\"loss\"} 0.25",
            "qres_model_metric{model=\"a/b\",metric=\"a_b_\"} 0.25",
        ] {
            assert!(
                page().lines().any(|found| found == line),
                "{line} is not in:\n{}",
                page()
            );
        }
        assert!(!page().contains("unmeasured"));
        metrics.left(&model);
        assert!(!page().contains("a/b"), "{}", page());
    }
}
