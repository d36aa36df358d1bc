//! The strategies that this version knows.

use super::param::{
    BATCH_SIZE, BETA1, BETA2, LEARNING_RATE, LEARNING_RATE_REQUIRED, LOCAL_EPOCHS, MAX_SHARE, MOMENTUM, MU,
    MU_OPTIONAL, Q, SERVER_LEARNING_RATE, STALENESS_EXPONENT, TAU,
};
use crate::optimiser::{Optimiser, Second};
use crate::param::Param;
use crate::record::Rule;

/// What decides how much a contribution counts in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weighting {
    /// Its samples.
    Samples,
    /// Its samples, and its update is divided by its local steps.
    Steps,
    /// Its samples, and the loss of its author.
    Loss,
}

/// A strategy that this version knows.
pub(super) struct Strategy {
    pub id: &'static str,
    pub params: &'static [Param],
    /// Makes the server optimiser from the rule's numbers; `None` if these ask for none.
    pub optimiser: fn(&Rule) -> Option<Optimiser>,
    /// What decides how much a contribution counts.
    pub weighting: Weighting,
}

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

const FAIR: &[Param] = &[
    BATCH_SIZE,
    LEARNING_RATE_REQUIRED,
    LOCAL_EPOCHS,
    MAX_SHARE,
    MU_OPTIONAL,
    Q,
];
const BUFFERED: &[Param] = &[
    BATCH_SIZE,
    LEARNING_RATE,
    LOCAL_EPOCHS,
    MAX_SHARE,
    MOMENTUM,
    MU_OPTIONAL,
    SERVER_LEARNING_RATE,
    STALENESS_EXPONENT,
];

pub(super) const STRATEGIES: &[Strategy] = &[
    Strategy {
        id: "fedavg/1",
        params: FEDAVG,
        optimiser: |_| None,
        weighting: Weighting::Samples,
    },
    Strategy {
        id: "fedprox/1",
        params: FEDPROX,
        optimiser: |_| None,
        weighting: Weighting::Samples,
    },
    Strategy {
        id: "fedavgm/1",
        params: WITH_MOMENTUM,
        optimiser: |rule| Some(momentum(rule, 1.0, false)),
        weighting: Weighting::Samples,
    },
    Strategy {
        id: "diloco/1",
        params: WITH_MOMENTUM,
        optimiser: |rule| Some(momentum(rule, 0.7, true)),
        weighting: Weighting::Samples,
    },
    Strategy {
        id: "fedadagrad/1",
        params: ADAGRAD,
        optimiser: |rule| Some(adaptive(rule, Second::Adagrad)),
        weighting: Weighting::Samples,
    },
    Strategy {
        id: "fedadam/1",
        params: ADAM,
        optimiser: |rule| Some(adaptive(rule, Second::Adam(number(rule, &BETA2, 0.99)))),
        weighting: Weighting::Samples,
    },
    Strategy {
        id: "fedyogi/1",
        params: ADAM,
        optimiser: |rule| Some(adaptive(rule, Second::Yogi(number(rule, &BETA2, 0.99)))),
        weighting: Weighting::Samples,
    },
    Strategy {
        id: "fednova/1",
        params: WITH_MOMENTUM,
        optimiser: |rule| asked_for(rule),
        weighting: Weighting::Steps,
    },
    Strategy {
        id: "qfedavg/1",
        params: FAIR,
        optimiser: |_| None,
        weighting: Weighting::Loss,
    },
    Strategy {
        id: "fedbuff/1",
        params: BUFFERED,
        optimiser: |rule| asked_for(rule),
        weighting: Weighting::Samples,
    },
];

pub(super) fn number(rule: &Rule, param: &Param, default: f64) -> f64 {
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

/// Momentum, if the rule gives one of its numbers: without them the result is the aggregated update itself.
fn asked_for(rule: &Rule) -> Option<Optimiser> {
    let given = |param: &Param| rule.params.contains_key(param.name);
    let asked = given(&MOMENTUM) || given(&SERVER_LEARNING_RATE);
    asked.then(|| Optimiser::Momentum {
        rate: number(rule, &SERVER_LEARNING_RATE, 1.0),
        momentum: number(rule, &MOMENTUM, 0.0),
        nesterov: false,
    })
}
