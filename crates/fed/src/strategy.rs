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

use std::collections::BTreeMap;

use crate::aggregation::Aggregation;
use crate::optimiser::Optimiser;
use crate::record::{LOSS, Measured, Report, Rule, Schema, Spec, SpecError};
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

/// Checks that the rule is a known strategy with valid numbers. The error names the unknown part and lists the known ones.
pub fn check(rule: &Rule) -> Result<(), SpecError> {
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
    for (name, &value) in &rule.params {
        let Some(param) = params.iter().find(|param| param.name == name) else {
            let known: Vec<_> = params.iter().map(|param| param.name).collect();
            return fail(format!("{id} takes no number {name:?}: it takes {}", known.join(", ")));
        };
        if !(param.holds)(value) {
            return fail(format!("{id}: {name} = {value} must be {}", param.must));
        }
    }
    match params.iter().find(|p| p.required && !rule.params.contains_key(p.name)) {
        Some(missing) => fail(format!("{id} needs the number {}: {}", missing.name, missing.must)),
        None => Ok(()),
    }
}

/// Returns the numbers that trainers apply: always `mu` (0 for FedAvg), and `learning_rate`, `local_epochs` and
/// `batch_size` where the rule gives them. The map is empty for a strategy whose name [`check`] refuses.
pub fn trainer_config(rule: &Rule) -> BTreeMap<String, f64> {
    let Some(Strategy { params, .. }) = known(&rule.id) else {
        return BTreeMap::new();
    };
    let given = params
        .iter()
        .filter(|param| TRAINERS.contains(&param.name))
        .filter_map(|param| Some((param.name.to_owned(), *rule.params.get(param.name)?)));
    std::iter::once((MU.name.to_owned(), 0.0)).chain(given).collect()
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
    check(&spec.strategy)?;
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

/// Checks that the rule is a known privacy mechanism; `none/1` is the only one.
pub fn check_privacy(rule: &Rule) -> Result<(), SpecError> {
    let fail = |problem: String| {
        Err(SpecError {
            field: "privacy",
            problem,
        })
    };
    if rule.id != "none/1" {
        return fail(format!("{:?} is not known here: none/1 is", rule.id));
    }
    match rule.params.keys().next() {
        Some(name) => fail(format!("none/1 takes no numbers, {name:?} was given: leave it out")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimiser::Second;

    fn rule(id: &str, params: &[(&str, f64)]) -> Rule {
        Rule {
            id: id.into(),
            params: params.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
        }
    }

    #[test]
    fn known_strategies_and_their_numbers_are_taken() {
        for good in [
            rule("fedavg/1", &[]),
            rule(
                "fedavg/1",
                &[("learning_rate", 0.1), ("local_epochs", 5.0), ("batch_size", 10.0)],
            ),
            rule("fedprox/1", &[("mu", 0.0)]),
            rule("fedprox/1", &[("mu", 1.0), ("batch_size", 1.0)]),
            rule("fedavgm/1", &[]),
            rule(
                "diloco/1",
                &[("server_learning_rate", 0.5), ("momentum", 0.0), ("mu", 0.1)],
            ),
            rule("fedadagrad/1", &[("beta1", 0.5), ("tau", 1e-8)]),
            rule("fedadam/1", &[("beta2", 0.999)]),
            rule("fedyogi/1", &[("beta1", 0.0), ("beta2", 0.0), ("tau", 1.0)]),
            rule("fednova/1", &[("mu", 0.1), ("server_learning_rate", 0.9)]),
            rule("qfedavg/1", &[("q", 0.2), ("learning_rate", 0.1)]),
            rule("fedbuff/1", &[("staleness_exponent", 1.5)]),
        ] {
            assert_eq!(check(&good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn what_is_unknown_is_named_with_what_is_known() {
        for (bad, names) in [
            (rule("krum/1", &[]), vec!["\"krum/1\"", "fedavg/1", "fedprox/1"]),
            (rule("fedavg", &[]), vec!["\"fedavg\""]),
            (rule("fedavg/2", &[]), vec!["\"fedavg/2\""]),
            (
                rule("fedavg/1", &[("mu", 0.1)]),
                vec!["\"mu\"", "batch_size, learning_rate, local_epochs"],
            ),
            (rule("fedprox/1", &[]), vec!["needs the number mu"]),
            (rule("fedprox/1", &[("mu", -0.1)]), vec!["mu = -0.1", "at least 0"]),
            (rule("fedprox/1", &[("mu", f64::NAN)]), vec!["mu = NaN"]),
            (rule("fedprox/1", &[("mu", f64::INFINITY)]), vec!["mu = inf"]),
            (
                rule("fedavg/1", &[("learning_rate", 0.0)]),
                vec!["learning_rate = 0", "above 0"],
            ),
            (
                rule("fedavg/1", &[("local_epochs", 1.5)]),
                vec!["local_epochs = 1.5", "whole"],
            ),
            (rule("fedavg/1", &[("batch_size", 0.0)]), vec!["batch_size = 0"]),
            (
                rule("fedadam/1", &[("momentum", 0.9)]),
                vec!["\"momentum\"", "beta1, beta2"],
            ),
            (rule("fedadagrad/1", &[("beta2", 0.9)]), vec!["\"beta2\""]),
            (rule("fedadam/1", &[("beta1", 1.0)]), vec!["beta1 = 1", "below 1"]),
            (rule("fedyogi/1", &[("tau", 0.0)]), vec!["tau = 0", "1e-15"]),
            (rule("qfedavg/1", &[("q", 1.0)]), vec!["needs the number learning_rate"]),
            (
                rule("qfedavg/1", &[("q", -1.0), ("learning_rate", 0.1)]),
                vec!["q = -1", "0 to 20"],
            ),
            (
                rule("fedbuff/1", &[("staleness_exponent", 0.3)]),
                vec!["0.3", "multiple of 0.5"],
            ),
            (
                rule("diloco/1", &[("server_learning_rate", 0.0)]),
                vec!["server_learning_rate = 0", "above 0"],
            ),
        ] {
            let error = check(&bad).expect_err("taken");
            assert_eq!(error.field, "strategy");
            for name in names {
                assert!(error.problem.contains(name), "{name} is not in {error}");
            }
        }
    }

    #[test]
    fn trainers_get_what_the_rule_gives() {
        let config = trainer_config(&rule("fedprox/1", &[("mu", 0.5), ("local_epochs", 2.0)]));
        assert_eq!(config, rule("", &[("local_epochs", 2.0), ("mu", 0.5)]).params);
        assert_eq!(trainer_config(&rule("fedavg/1", &[])), rule("", &[("mu", 0.0)]).params);
        assert_eq!(trainer_config(&rule("other/1", &[("mu", 0.5)])), BTreeMap::new());
        let server = rule(
            "fedadam/1",
            &[("mu", 0.5), ("beta1", 0.5), ("server_learning_rate", 1.0)],
        );
        assert_eq!(trainer_config(&server), rule("", &[("mu", 0.5)]).params);
    }

    #[test]
    fn the_numbers_of_a_strategy_make_its_optimiser() {
        assert_eq!(optimiser(&rule("fedprox/1", &[("mu", 0.5)])), None);
        assert_eq!(
            optimiser(&rule("diloco/1", &[])),
            Some(Optimiser::Momentum {
                rate: 0.7,
                momentum: 0.9,
                nesterov: true
            })
        );
        let numbers = [
            ("server_learning_rate", 0.5),
            ("beta1", 0.4),
            ("beta2", 0.3),
            ("tau", 0.2),
        ];
        assert_eq!(
            optimiser(&rule("fedyogi/1", &numbers)),
            Some(Optimiser::Adaptive {
                rate: 0.5,
                beta1: 0.4,
                tau: 0.2,
                second: Second::Yogi(0.3)
            })
        );
    }

    #[test]
    fn fednova_and_fedbuff_have_an_optimiser_if_its_numbers_are_given() {
        assert_eq!(optimiser(&rule("fednova/1", &[])), None);
        let momentum = rule("fedbuff/1", &[("momentum", 0.5)]);
        assert_eq!(
            optimiser(&momentum),
            Some(Optimiser::Momentum {
                rate: 1.0,
                momentum: 0.5,
                nesterov: false
            })
        );
    }

    #[test]
    fn late_work_is_discounted_by_the_exponent() {
        let discount = |id: &str, exponent: f64, behind| {
            let numbers = [("staleness_exponent", exponent)];
            late_discount(&rule(id, &numbers), behind)
        };
        assert_eq!(late_discount(&rule("fedavg/1", &[]), 3), 0.5);
        assert_eq!(late_discount(&rule("fedavg/1", &[]), 0), 1.0);
        assert_eq!(discount("fedbuff/1", 0.0, 9), 1.0);
        assert_eq!(discount("fedbuff/1", 1.0, 3), 0.25);
        assert_eq!(discount("fedbuff/1", 2.5, 3), 1.0 / 32.0);
    }

    #[test]
    fn privacy_is_none_or_refused_by_name() {
        assert_eq!(check_privacy(&rule("none/1", &[])), Ok(()));
        let error = check_privacy(&rule("dp/1", &[])).unwrap_err();
        assert_eq!(error.field, "privacy");
        assert!(
            error.problem.contains("\"dp/1\"") && error.problem.contains("none/1"),
            "{error}"
        );
        assert!(check_privacy(&rule("none/1", &[("epsilon", 1.0)])).is_err());
    }
}
