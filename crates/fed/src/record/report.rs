//! Reports: what trainers say about their work beside the update.

use borsh::{BorshDeserialize, BorshSerialize};

use super::Spec;
use super::metric::is_metric_value;

/// The largest sample count that is accepted: 2^40, about 10^12. A greater weight is a mistake or an attack.
pub const SAMPLES_MAX: u64 = 1 << 40;
/// Largest number of local steps that is accepted: 2^40.
pub const STEPS_MAX: f64 = (1u64 << 40) as f64;
/// Name of the metric that `qfedavg/1` weights by.
pub(crate) const LOSS: &str = "loss";

/// The value of a metric that trainers measured on the checkpoint from which they trained.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Measured {
    /// The mean over the samples.
    pub value: f64,
    /// Number of samples on which it was measured, 1 to [`SAMPLES_MAX`].
    pub samples: u64,
}

/// What the trainers of one node say about their work, for one contribution.
#[derive(Debug, Clone, Default, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Report {
    /// The number of local steps behind the update, from 1 to [`STEPS_MAX`]: with plain SGD the number of steps, in general
    /// the norm ‖a‖₁ of Wang et al. 2020. The mean by samples where a node has several trainers; `None` if one of them did not
    /// say it.
    pub steps: Option<f64>,
    /// A value for each of the spec's metrics, in their order; `None` where no member measured it.
    pub metrics: Vec<Option<Measured>>,
}

// The numbers are never NaN: borsh refuses to read or write one.
impl Eq for Report {}

/// The part of a report that an aggregation uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// See [`Report::steps`].
    pub steps: Option<f64>,
    /// The value of the metric `loss`, if the spec has one.
    pub loss: Option<f64>,
}

// The numbers are never NaN, see `Report::fault`.
impl Eq for Figures {}

impl Report {
    /// Returns the fault that makes the report invalid for every receiver and with every strategy.
    pub fn fault(&self, spec: &Spec) -> Option<String> {
        if let Some(steps) = self.steps
            && !(1.0..=STEPS_MAX).contains(&steps)
        {
            return Some(format!("{steps} steps are outside 1 to 2^40"));
        }
        let (given, known) = (self.metrics.len(), spec.metrics.len());
        if given != known {
            return Some(format!("{given} metrics are given, the model has {known}"));
        }
        let bad =
            |measured: &&Measured| !is_metric_value(measured.value) || !(1..=SAMPLES_MAX).contains(&measured.samples);
        let bad = self.metrics.iter().flatten().find(bad)?;
        Some(format!("a metric of {} on {} samples", bad.value, bad.samples))
    }

    /// Returns the report's bytes in the records.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing into a Vec cannot fail, and a checked report holds no NaN, which borsh would refuse.
        borsh::to_vec(self).expect("a report of finite numbers always encodes")
    }

    /// Returns the report of a node from those of its trainers, each with its number of training samples.
    pub fn merged<'a>(reports: impl Iterator<Item = (u64, &'a Self)> + Clone, metrics: usize) -> Self {
        let all = reports.clone().map(|(samples, report)| Some((report.steps?, samples)));
        let measured = |metric: usize| {
            let values = reports.clone().filter_map(|(_, report)| *report.metrics.get(metric)?);
            let (value, samples) = mean_by_samples(values.map(|measured| (measured.value, measured.samples)))?;
            Some(Measured { value, samples })
        };
        Self {
            steps: all
                .collect::<Option<Vec<_>>>()
                .and_then(|all| Some(mean_by_samples(all.into_iter())?.0)),
            metrics: (0..metrics).map(measured).collect(),
        }
    }

    /// Returns what an aggregation of this spec uses.
    pub fn figures(&self, spec: &Spec) -> Figures {
        let loss = spec.metrics.iter().position(|metric| metric.name == LOSS);
        let loss = loss.and_then(|at| *self.metrics.get(at)?);
        Figures {
            steps: self.steps,
            loss: loss.map(|measured| measured.value),
        }
    }
}

/// Returns the mean of values by their samples, and the sum of these, at most [`SAMPLES_MAX`]; `None` without values. The mean
/// of one value has its bits, and no mean is outside the values.
pub(crate) fn mean_by_samples(values: impl Iterator<Item = (f64, u64)>) -> Option<(f64, u64)> {
    let values: Vec<_> = values.collect();
    let total: f64 = values.iter().fold(0.0, |sum, (_, samples)| sum + *samples as f64);
    let least = values.iter().map(|(value, _)| *value).reduce(f64::min)?;
    let most = values.iter().map(|(value, _)| *value).reduce(f64::max)?;
    let sum = values
        .iter()
        .fold(0.0, |sum, (value, samples)| sum + value * *samples as f64);
    let samples = values
        .iter()
        .fold(0u64, |sum, (_, samples)| sum.saturating_add(*samples));
    Some(((sum / total).clamp(least, most), samples.min(SAMPLES_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(value: f64, samples: u64) -> Option<Measured> {
        Some(Measured { value, samples })
    }

    #[test]
    fn a_node_s_report_is_the_mean_of_its_trainers_by_samples() {
        let one = Report {
            steps: Some(10.0),
            metrics: vec![measured(0.5, 100), None],
        };
        let two = Report {
            steps: Some(40.0),
            metrics: vec![measured(0.1, 300), None],
        };
        let both = [(1, &one), (2, &two)];
        let merged = Report::merged(both.into_iter(), 2);
        assert_eq!(merged.steps, Some(30.0));
        assert_eq!(merged.metrics, [measured(0.2, 400), None]);
        assert_eq!(Report::merged([(7, &one)].into_iter(), 2), one);
        let silent = Report {
            steps: None,
            metrics: vec![None, measured(3.0, SAMPLES_MAX)],
        };
        let merged = Report::merged([(1, &one), (1, &silent)].into_iter(), 2);
        assert_eq!(merged.steps, None);
        assert_eq!(merged.metrics, [measured(0.5, 100), measured(3.0, SAMPLES_MAX)]);
    }
}
