//! Strategies: the rule that turns contributions into a checkpoint, and the numbers that trainers must apply.
//!
//! `fedavg/1` (McMahan et al. 2017, "Communication-efficient learning of deep networks from decentralized data") and
//! `fedprox/1` (Li et al. 2020, "Federated optimization in heterogeneous networks") aggregate in the same way, see
//! [`crate::update::aggregate`]. With FedProx the trainers add `mu / 2 * |w - base|^2` to their loss. The other strategies
//! give the aggregated update to a server optimiser, see [`crate::optimiser`]; with `mu` their trainers add that term, too.

use std::collections::BTreeMap;

use crate::optimiser::{Optimiser, Second};
use crate::record::{Rule, Schema, Spec, SpecError};

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

/// Step size of the server optimiser.
const SERVER_LEARNING_RATE: Param = Param {
    name: "server_learning_rate",
    required: false,
    must: "finite and above 0",
    holds: |x| x.is_finite() && x > 0.0,
};
/// Part of the first moment that stays from round to round.
const MOMENTUM: Param = Param {
    name: "momentum",
    required: false,
    must: "at least 0 and below 1",
    holds: is_part,
};
const BETA1: Param = Param {
    name: "beta1",
    ..MOMENTUM
};
/// Part of the second moment that stays from round to round.
const BETA2: Param = Param {
    name: "beta2",
    ..MOMENTUM
};
/// Number that is added to the root of the second moment.
const TAU: Param = Param {
    name: "tau",
    required: false,
    must: "from 1e-15 to 1e15",
    holds: |x| (1e-15..=1e15).contains(&x),
};

fn is_count(x: f64) -> bool {
    (1.0..=1e6).contains(&x) && x.fract() == 0.0
}

fn is_part(x: f64) -> bool {
    (0.0..1.0).contains(&x)
}

/// The numbers that trainers apply; nodes apply the others.
const TRAINERS: [&str; 4] = [BATCH_SIZE.name, LEARNING_RATE.name, LOCAL_EPOCHS.name, MU.name];

/// A strategy that this version knows.
struct Strategy {
    id: &'static str,
    params: &'static [Param],
    /// Makes the server optimiser from the rule's numbers; `None` for a strategy that has none.
    optimiser: Option<fn(&Rule) -> Optimiser>,
}

const MU_OPTIONAL: Param = Param { required: false, ..MU };
const FEDAVG: &[Param] = &[BATCH_SIZE, LEARNING_RATE, LOCAL_EPOCHS, MAX_SHARE];
const FEDPROX: &[Param] = &[BATCH_SIZE, LEARNING_RATE, LOCAL_EPOCHS, MAX_SHARE, MU];
const WITH_MOMENTUM: &[Param] = &[
    BATCH_SIZE,
    LEARNING_RATE,
    LOCAL_EPOCHS,
    MAX_SHARE,
    MOMENTUM,
    MU_OPTIONAL,
    SERVER_LEARNING_RATE,
];
const ADAGRAD: &[Param] = &[
    BATCH_SIZE,
    BETA1,
    LEARNING_RATE,
    LOCAL_EPOCHS,
    MAX_SHARE,
    MU_OPTIONAL,
    SERVER_LEARNING_RATE,
    TAU,
];
const ADAM: &[Param] = &[
    BATCH_SIZE,
    BETA1,
    BETA2,
    LEARNING_RATE,
    LOCAL_EPOCHS,
    MAX_SHARE,
    MU_OPTIONAL,
    SERVER_LEARNING_RATE,
    TAU,
];

const STRATEGIES: &[Strategy] = &[
    Strategy {
        id: "fedavg/1",
        params: FEDAVG,
        optimiser: None,
    },
    Strategy {
        id: "fedprox/1",
        params: FEDPROX,
        optimiser: None,
    },
    Strategy {
        id: "fedavgm/1",
        params: WITH_MOMENTUM,
        optimiser: Some(|rule| momentum(rule, 1.0, false)),
    },
    Strategy {
        id: "diloco/1",
        params: WITH_MOMENTUM,
        optimiser: Some(|rule| momentum(rule, 0.7, true)),
    },
    Strategy {
        id: "fedadagrad/1",
        params: ADAGRAD,
        optimiser: Some(|rule| adaptive(rule, Second::Adagrad)),
    },
    Strategy {
        id: "fedadam/1",
        params: ADAM,
        optimiser: Some(|rule| adaptive(rule, Second::Adam(number(rule, &BETA2, 0.99)))),
    },
    Strategy {
        id: "fedyogi/1",
        params: ADAM,
        optimiser: Some(|rule| adaptive(rule, Second::Yogi(number(rule, &BETA2, 0.99)))),
    },
];

fn number(rule: &Rule, param: &Param, default: f64) -> f64 {
    rule.params.get(param.name).copied().unwrap_or(default)
}

/// DiLoCo's defaults are those of the paper; FedAvgM's are the ones in use.
fn momentum(rule: &Rule, rate: f64, nesterov: bool) -> Optimiser {
    Optimiser::Momentum {
        rate: number(rule, &SERVER_LEARNING_RATE, rate),
        momentum: number(rule, &MOMENTUM, 0.9),
        nesterov,
    }
}

/// The defaults are those that Reddi et al. 2021 recommend where nothing was tuned.
fn adaptive(rule: &Rule, second: Second) -> Optimiser {
    Optimiser::Adaptive {
        rate: number(rule, &SERVER_LEARNING_RATE, 0.1),
        beta1: number(rule, &BETA1, 0.9),
        tau: number(rule, &TAU, 1e-3),
        second,
    }
}

fn known(id: &str) -> Option<&'static Strategy> {
    STRATEGIES.iter().find(|strategy| strategy.id == id)
}

/// Returns the strategy's server optimiser; `None` if it has none, or is unknown.
pub fn optimiser(rule: &Rule) -> Option<Optimiser> {
    known(&rule.id)?.optimiser.map(|make| make(rule))
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
            rule("fedavgm/1", &[]),
            rule(
                "diloco/1",
                &[("server_learning_rate", 0.5), ("momentum", 0.0), ("mu", 0.1)],
            ),
            rule("fedadagrad/1", &[("beta1", 0.5), ("tau", 1e-8)]),
            rule("fedadam/1", &[("beta2", 0.999)]),
            rule("fedyogi/1", &[("beta1", 0.0), ("beta2", 0.0), ("tau", 1.0)]),
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
