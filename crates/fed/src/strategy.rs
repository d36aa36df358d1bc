//! Strategies: the rule that turns contributions into a checkpoint, and the numbers that trainers must apply.
//!
//! `fedavg/1` (McMahan et al. 2017, "Communication-efficient learning of deep networks from decentralized data") and
//! `fedprox/1` (Li et al. 2020, "Federated optimization in heterogeneous networks") aggregate in the same way, see
//! [`crate::update::aggregate`]. With FedProx the trainers add `mu / 2 * |w - base|^2` to their loss. The other strategies
//! give the aggregated update to a server optimiser, see [`crate::optimiser`]; with `mu` their trainers add that term, too.
//! Three of them change how much a contribution counts:
//!
//! - `fednova/1` (Wang et al. 2020, "Tackling the objective inconsistency problem in heterogeneous federated optimization")
//!   divides each update by its local steps and multiplies the mean by the mean number of steps. Members that take more steps
//!   then pull no harder.
//! - `qfedavg/1` (Li et al. 2020, "Fair resource allocation in federated learning", algorithm 2) lets members with a high loss
//!   count more, see [`Fairness`].
//! - `fedbuff/1` (Nguyen et al. 2022, "Federated learning with buffered asynchronous aggregation") aggregates as soon as k
//!   contributions are there and discounts the late ones by [`late_discount`].

mod param;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::aggregation::Aggregation;
use crate::optimiser::Optimiser;
use crate::param::{Param, check_numbers};
use crate::record::{Curve, LOSS, Measured, Point, Report, Rule, Schedule, Schema, Spec, SpecError};
use param::{BATCH_SIZE, LEARNING_RATE, LOCAL_EPOCHS, MAX_SHARE, MU, Q, STALENESS_EXPONENT};
use table::{STRATEGIES, Strategy, Weighting, number};

/// The strategy whose rounds close with k contributions.
const BUFFERED_ID: &str = "fedbuff/1";

/// The numbers that trainers apply; nodes apply the others.
const TRAINERS: [&str; 4] = [BATCH_SIZE.name, LEARNING_RATE.name, LOCAL_EPOCHS.name, MU.name];

fn known(id: &str) -> Option<&'static Strategy> {
    STRATEGIES.iter().find(|strategy| strategy.id == id)
}

/// Returns the strategy's server optimiser; `None` if it has none, or is unknown.
pub fn optimiser(rule: &Rule) -> Option<Optimiser> {
    (known(&rule.id)?.optimiser)(rule)
}

/// Returns the schema of the state of the model's server optimiser; `None` if its strategy has none.
pub fn state_schema(spec: &Spec) -> Option<Schema> {
    Some(optimiser(&spec.strategy)?.state_schema(&spec.tensors))
}

/// Checks that the rule is a known strategy with valid numbers, some of which have schedules. The error names the unknown part
/// and lists the known ones.
pub fn check(rule: &Rule, schedules: &BTreeMap<String, Schedule>) -> Result<(), SpecError> {
    let fail = |problem: String| {
        Err(SpecError {
            field: "strategy",
            problem,
        })
    };
    let id = &rule.id;
    let Some(Strategy { params, .. }) = known(id) else {
        let all: Vec<_> = STRATEGIES.iter().map(|strategy| strategy.id).collect();
        return fail(format!("{id:?} is not known here: {} are", all.join(", ")));
    };
    let scheduled = |param: &Param| schedules.contains_key(param.name);
    check_numbers("strategy", rule, params, scheduled)?;
    for (name, schedule) in schedules {
        check_schedule(rule, params, name, schedule)?;
    }
    Ok(())
}

/// Checks that a number of the strategy can have this schedule.
fn check_schedule(rule: &Rule, params: &[Param], name: &str, schedule: &Schedule) -> Result<(), SpecError> {
    let fail = |problem: String| {
        Err(SpecError {
            field: "schedules",
            problem,
        })
    };
    let id = &rule.id;
    let trainers = || params.iter().filter(|param| TRAINERS.contains(&param.name));
    let Some(param) = trainers().find(|param| param.name == name) else {
        let known: Vec<_> = trainers().map(|param| param.name).collect();
        return fail(format!(
            "{id} has no number {name:?} for trainers: {} can have schedules",
            known.join(", ")
        ));
    };
    if rule.params.contains_key(name) {
        return fail(format!(
            "{name} is also a number of the strategy: give one or the other"
        ));
    }
    if weighting(rule) == Weighting::Loss && name == LEARNING_RATE.name {
        return fail(format!("{id}: nodes aggregate with {name}, so it stays the same"));
    }
    let whole = [BATCH_SIZE.name, LOCAL_EPOCHS.name].contains(&name);
    if whole && schedule.curve != Curve::Step {
        return fail(format!("{name} is a whole number: its schedule goes in steps"));
    }
    match schedule.points.iter().find(|point| !(param.holds)(point.value)) {
        Some(Point { round, value }) => fail(format!("{name} = {value} in round {round} must be {}", param.must)),
        None => Ok(()),
    }
}

/// Returns the numbers that trainers apply in a round: always `mu` (0 for FedAvg), and `learning_rate`, `local_epochs` and
/// `batch_size` where the spec gives them. The map is empty for a strategy whose name [`check`] refuses.
pub fn trainer_config(spec: &Spec, round: u64) -> BTreeMap<String, f64> {
    let rule = &spec.strategy;
    let Some(Strategy { params, .. }) = known(&rule.id) else {
        return BTreeMap::new();
    };
    let given = params
        .iter()
        .filter(|param| TRAINERS.contains(&param.name))
        .filter_map(|param| Some((param.name.to_owned(), *rule.params.get(param.name)?)));
    let round = round.saturating_add(spec.earlier_rounds);
    let scheduled = spec
        .schedules
        .iter()
        .map(|(name, schedule)| (name.clone(), schedule.value(round)));
    std::iter::once((MU.name.to_owned(), 0.0))
        .chain(given)
        .chain(scheduled)
        .collect()
}

/// Returns the largest share of a round that the strategy lets one member have, 0 to 1; `None` if it sets no limit.
pub fn max_share(rule: &Rule) -> Option<f64> {
    rule.params.get(MAX_SHARE.name).copied()
}

/// Sets or removes the largest share of a round that the strategy lets one member have.
pub fn set_max_share(rule: &mut Rule, share: Option<f64>) {
    match share {
        Some(share) => drop(rule.params.insert(MAX_SHARE.name.to_owned(), share)),
        None => drop(rule.params.remove(MAX_SHARE.name)),
    }
}

/// Checks the strategy of a spec, and that the spec has what the strategy needs.
///
/// # Errors
/// The error names the field at fault: the strategy's rule, or a metric or an aggregation that does not fit it.
pub fn check_spec(spec: &Spec) -> Result<(), SpecError> {
    check(&spec.strategy, &spec.schedules)?;
    if weighting(&spec.strategy) != Weighting::Loss {
        return Ok(());
    }
    let id = &spec.strategy.id;
    if !spec.metrics.iter().any(|metric| metric.name == LOSS) {
        return Err(SpecError {
            field: "metrics",
            problem: format!("{id} weights the members by their losses: name the metric {LOSS}"),
        });
    }
    if !Aggregation::of(spec)?.is_mean() {
        return Err(SpecError {
            field: "aggregation",
            problem: format!("{id} combines the updates itself: it takes no rule but mean/1"),
        });
    }
    Ok(())
}

/// Returns the fault that makes a report invalid in a model of this spec, for every receiver.
pub fn report_fault(spec: &Spec, report: &Report) -> Option<String> {
    if let Some(fault) = report.fault(spec) {
        return Some(fault);
    }
    let id = &spec.strategy.id;
    match (weighting(&spec.strategy), report.steps, report.figures(spec).loss) {
        (Weighting::Steps, None, _) => Some(format!("{id} needs the number of local steps")),
        (Weighting::Loss, _, None) => Some(format!("{id} needs the value of the metric {LOSS}")),
        (Weighting::Loss, _, Some(loss)) if loss < 0.0 => {
            Some(format!("{id} needs a {LOSS} of at least 0, not {loss}"))
        }
        _ => None,
    }
}

/// Returns the report of a contribution that is only a vote: it measures nothing that the strategy does not ask for.
pub fn closing_report(spec: &Spec) -> Report {
    let needs_loss = weighting(&spec.strategy) == Weighting::Loss;
    let zero = Measured { value: 0.0, samples: 1 };
    let metrics = spec.metrics.iter();
    Report {
        steps: Some(1.0),
        metrics: metrics
            .map(|metric| (needs_loss && metric.name == LOSS).then_some(zero))
            .collect(),
    }
}

fn weighting(rule: &Rule) -> Weighting {
    known(&rule.id).map_or(Weighting::Samples, |strategy| strategy.weighting)
}

/// Returns true if the strategy divides updates by their local steps.
pub fn normalises(rule: &Rule) -> bool {
    weighting(rule) == Weighting::Steps
}

/// The numbers of q-FedAvg: `F^q` of its loss F is a member's weight, and the step is shorter the steeper `F^q` can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fairness {
    /// The exponent q, 0 to 20.
    pub q: f64,
    /// The Lipschitz constant L of the gradients: 1 / `learning_rate`, as in the paper.
    pub lipschitz: f64,
}

/// Returns the numbers of q-FedAvg; `None` for other strategies.
pub fn fairness(rule: &Rule) -> Option<Fairness> {
    (weighting(rule) == Weighting::Loss).then(|| Fairness {
        q: number(rule, &Q, 0.0),
        lipschitz: 1.0 / number(rule, &LEARNING_RATE, 1.0),
    })
}

/// Returns the factor for the samples of a contribution that is `behind` rounds late: `(1 + behind)^-a`. Without the number
/// `staleness_exponent` a is 1/2, as in FedBuff (Nguyen et al. 2022). a is a multiple of 1/2, so that products, square root and
/// quotient, which are those of IEEE 754, make the same bits on every machine.
pub fn late_discount(rule: &Rule, behind: u32) -> f64 {
    let (mut halves, base) = (2.0 * number(rule, &STALENESS_EXPONENT, 0.5), 1.0 + f64::from(behind));
    let mut power = 1.0;
    while halves >= 2.0 {
        power *= base;
        halves -= 2.0;
    }
    if halves >= 1.0 {
        power *= base.sqrt();
    }
    1.0 / power
}

/// Returns true if a round of the strategy closes with k contributions, and takes the others as late work.
pub fn is_buffered(rule: &Rule) -> bool {
    rule.id == BUFFERED_ID
}
