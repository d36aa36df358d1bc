//! Strategies: the rule that turns contributions into a checkpoint, and the numbers that trainers must apply.
//!
//! `fedavg/1` (McMahan et al. 2017, "Communication-efficient learning of deep networks from decentralized data") and
//! `fedprox/1` (Li et al. 2020, "Federated optimization in heterogeneous networks") aggregate in the same way, see
//! [`crate::update::aggregate`]. With FedProx the trainers add `mu / 2 * |w - base|^2` to their loss.

use std::collections::BTreeMap;

use crate::record::{Rule, SpecError};

/// A number that a strategy takes as a parameter.
struct Param {
    name: &'static str,
    required: bool,
    /// Condition on the value, in words for error texts; `holds` tests it.
    must: &'static str,
    holds: fn(f64) -> bool,
}

/// Weight of the proximal term; 0 makes FedProx the same as FedAvg.
const MU: Param = Param {
    name: "mu",
    required: true,
    must: "finite and at least 0",
    holds: |x| x.is_finite() && x >= 0.0,
};
/// Step size of the trainers' gradient descent.
const LEARNING_RATE: Param = Param {
    name: "learning_rate",
    required: false,
    must: "finite and above 0",
    holds: |x| x.is_finite() && x > 0.0,
};
/// Passes over the trainer's own data in one round.
const LOCAL_EPOCHS: Param = Param {
    name: "local_epochs",
    required: false,
    must: "a whole number from 1 to 1000000",
    holds: is_count,
};
/// Samples in each step of the trainers' gradient descent.
const BATCH_SIZE: Param = Param {
    name: "batch_size",
    required: false,
    must: "a whole number from 1 to 1000000",
    holds: is_count,
};

/// Largest share of a round that one member has: its update counts as if it had fewer samples.
const MAX_SHARE: Param = Param {
    name: "max_share",
    required: false,
    must: "above 0 and at most 1",
    holds: |x| x > 0.0 && x <= 1.0,
};

fn is_count(x: f64) -> bool {
    (1.0..=1e6).contains(&x) && x.fract() == 0.0
}

const FEDAVG: &[Param] = &[BATCH_SIZE, LEARNING_RATE, LOCAL_EPOCHS, MAX_SHARE];
const FEDPROX: &[Param] = &[BATCH_SIZE, LEARNING_RATE, LOCAL_EPOCHS, MAX_SHARE, MU];

fn params(id: &str) -> Option<&'static [Param]> {
    match id {
        "fedavg/1" => Some(FEDAVG),
        "fedprox/1" => Some(FEDPROX),
        _ => None,
    }
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
    let Some(params) = params(id) else {
        return fail(format!("{id:?} is not known here: fedavg/1 and fedprox/1 are"));
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
    let Some(params) = params(&rule.id) else {
        return BTreeMap::new();
    };
    let given = params
        .iter()
        .filter(|param| param.name != MAX_SHARE.name)
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
