//! The figures that a node shows to Prometheus: some are counted by its parts, the rest is read at each scrape.
//!
//! docs/metrics.md describes every figure. No label holds a peer's id, as there may be any number of peers. A model's name is a
//! label, as a node joins few models.

mod measured;
pub mod rounds;

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use qres_fed::id::SpecId;
use qres_fed::record::ModelName;
use qres_fed::round::SubmissionState;

use crate::view::RoundView;
use measured::MeasuredMetrics;
use rounds::RoundMetrics;

/// The upper ends of the buckets of a job's time, in seconds: a small model takes milliseconds, one of 10 GB minutes.
const JOB_BUCKETS_S: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0,
];
/// The upper ends of the buckets of a transaction's time, in seconds. One transaction is one or two flushes of the disk: 0.1 ms
/// on an NVMe with power protection, 30 ms on a spinning one.
const COMMIT_BUCKETS_S: [f64; 12] = [
    0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// A kind of long work on tensors.
#[derive(Debug, Clone, Copy)]
pub enum Job {
    /// A blob's content is checked.
    Check,
    /// Submissions are merged and coded.
    Encode,
    /// Contributions become a checkpoint.
    Aggregate,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    /// Not `job`: Prometheus gives that label to each target.
    work: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SubmissionLabels {
    model: String,
    state: &'static str,
}

/// The final states of a submission.
const SUBMISSION_STATES: [&str; 3] = ["sealed", "rejected", "superseded"];

fn submission_labels(model: &ModelName, state: &'static str) -> SubmissionLabels {
    SubmissionLabels {
        model: model.to_string(),
        state,
    }
}

/// The figures that the engine counts into.
#[derive(Debug)]
pub struct Metrics {
    jobs: Family<JobLabels, Histogram, fn() -> Histogram>,
    commit: Histogram,
    commit_failures: Counter,
    submissions: Family<SubmissionLabels, Counter>,
    collected: Counter,
    /// Rounds and the contributions to them.
    pub rounds: RoundMetrics,
    /// The metrics that models' members measured.
    pub measured: MeasuredMetrics,
    /// The joined models, with the contributions in their open rounds, late ones left out.
    joined: Mutex<BTreeMap<SpecId, (ModelName, u64)>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            jobs: Family::new_with_constructor(|| Histogram::new(JOB_BUCKETS_S)),
            commit: Histogram::new(COMMIT_BUCKETS_S),
            commit_failures: Counter::default(),
            submissions: Family::default(),
            collected: Counter::default(),
            rounds: RoundMetrics::default(),
            measured: MeasuredMetrics::default(),
            joined: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts a job that ran for `took`, without the wait for its turn.
    pub fn job(&self, job: Job, took: Duration) {
        let work = match job {
            Job::Check => "check",
            Job::Encode => "encode",
            Job::Aggregate => "aggregate",
        };
        self.jobs.get_or_create(&JobLabels { work }).observe(took.as_secs_f64());
    }

    /// Counts a model's transaction that took `took`; `done` is true if it is on the disk.
    pub fn commit(&self, took: Duration, done: bool) {
        self.commit.observe(took.as_secs_f64());
        if !done {
            self.commit_failures.inc();
        }
    }

    /// Counts a submission when its new state is final ([`SubmissionState::is_final`]).
    pub fn submission(&self, model: &ModelName, state: &SubmissionState) {
        if !state.is_final() {
            return;
        }
        let state = match state {
            SubmissionState::Sealed { .. } => "sealed",
            SubmissionState::Rejected { .. } => "rejected",
            SubmissionState::Superseded { .. } => "superseded",
            SubmissionState::Pending | SubmissionState::Merged { .. } | SubmissionState::Carried { .. } => return,
        };
        self.submissions.get_or_create(&submission_labels(model, state)).inc();
    }

    /// Counts blobs that the collector removed.
    pub fn collected(&self, blobs: usize) {
        self.collected.inc_by(blobs as u64);
    }

    /// Makes the series of a model that was joined.
    pub fn joined(&self, spec: SpecId, model: &ModelName) {
        for state in SUBMISSION_STATES {
            drop(self.submissions.get_or_create(&submission_labels(model, state)));
        }
        self.rounds.joined(model);
        self.joined.lock().insert(spec, (model.clone(), 0));
    }

    /// Takes the contributions of a joined model's open round, which changed.
    pub fn open_round(&self, spec: &SpecId, round: &RoundView) {
        let fresh = round.contributions.iter().filter(|c| !c.late).count();
        if let Some((_, count)) = self.joined.lock().get_mut(spec) {
            *count = fresh as u64;
        }
    }

    /// Removes the series of a model that was left, unless its successor bears the same name.
    pub fn left(&self, spec: &SpecId) {
        let mut joined = self.joined.lock();
        let Some((model, _)) = joined.remove(spec) else { return };
        if joined.values().all(|(name, _)| *name != model) {
            for state in SUBMISSION_STATES {
                self.submissions.remove(&submission_labels(&model, state));
            }
            self.rounds.left(&model);
            self.measured.left(&model);
        }
    }

    /// Returns the contributions in the open round of a joined model, late ones left out.
    pub fn contributions(&self, spec: &SpecId) -> u64 {
        self.joined.lock().get(spec).map_or(0, |(_, count)| *count)
    }

    /// Registers these figures.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "qres_job_duration",
            "Time that one job on tensors ran, by kind of work (check, encode, aggregate); waiting for its turn is not in it",
            Unit::Seconds,
            self.jobs.clone(),
        );
        registry.register_with_unit(
            "qres_commit_duration",
            "Time of one transaction of a model's records, its flush to the disk included",
            Unit::Seconds,
            self.commit.clone(),
        );
        registry.register(
            "qres_commit_failures",
            "Transactions of a model's records that failed; each is tried again until it is durable",
            self.commit_failures.clone(),
        );
        registry.register(
            "qres_submissions",
            "Submissions that became final, by model and state (sealed, rejected, superseded)",
            self.submissions.clone(),
        );
        registry.register(
            "qres_collector_removed_blobs",
            "Blobs removed because nothing referred to them any more",
            self.collected.clone(),
        );
        self.rounds.register(registry);
        self.measured.register(registry);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use qres_fed::id::CheckpointId;

    use super::*;
    use crate::scrape::Reading;

    fn text(metrics: &Metrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        registry.register_collector(Box::new(Reading::new(Weak::new(), Arc::default())));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_submission_counts_once_it_is_final() {
        let metrics = Metrics::default();
        let model: ModelName = "a/b".parse().unwrap();
        let sealed = |settled| SubmissionState::Sealed {
            checkpoint: CheckpointId([1; 32]),
            weight_ppm: 1,
            confirmed: true,
            settled,
        };
        metrics.submission(&model, &SubmissionState::Pending);
        metrics.submission(&model, &sealed(false));
        assert!(!text(&metrics).contains("qres_submissions_total{"));
        metrics.submission(&model, &sealed(true));
        let text = text(&metrics);
        assert!(
            text.contains("qres_submissions_total{model=\"a/b\",state=\"sealed\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_node_that_is_gone_is_still_a_whole_page() {
        let metrics = Metrics::default();
        metrics.job(Job::Check, Duration::from_millis(2));
        metrics.commit(Duration::from_millis(2), false);
        let text = text(&metrics);
        assert!(
            text.contains("qres_job_duration_seconds_bucket{le=\"0.005\",work=\"check\"} 1"),
            "{text}"
        );
        assert!(text.contains("qres_commit_failures_total 1"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
