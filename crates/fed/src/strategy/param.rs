//! The numbers that strategies take.

use crate::param::Param;

/// Weight of the proximal term; 0 makes FedProx the same as FedAvg.
pub(super) const MU: Param = Param {
    name: "mu",
    required: true,
    must: "finite and at least 0",
    holds: |x| x.is_finite() && x >= 0.0,
};
/// Step size of the trainers' gradient descent.
pub(super) const LEARNING_RATE: Param = Param {
    name: "learning_rate",
    required: false,
    must: "finite and above 0",
    holds: |x| x.is_finite() && x > 0.0,
};
/// Passes over the trainer's own data in one round.
pub(super) const LOCAL_EPOCHS: Param = Param {
    name: "local_epochs",
    required: false,
    must: "a whole number from 1 to 1000000",
    holds: is_count,
};
/// Samples in each step of the trainers' gradient descent.
pub(super) const BATCH_SIZE: Param = Param {
    name: "batch_size",
    required: false,
    must: "a whole number from 1 to 1000000",
    holds: is_count,
};

/// Largest share of a round that one member has: its update counts as if it had fewer samples.
pub(super) const MAX_SHARE: Param = Param {
    name: "max_share",
    required: false,
    must: "above 0 and at most 1",
    holds: |x| x > 0.0 && x <= 1.0,
};

/// Step size of the server optimiser.
pub(super) const SERVER_LEARNING_RATE: Param = Param {
    name: "server_learning_rate",
    required: false,
    must: "finite and above 0",
    holds: |x| x.is_finite() && x > 0.0,
};
/// Part of the first moment that stays from round to round.
pub(super) const MOMENTUM: Param = Param {
    name: "momentum",
    required: false,
    must: "at least 0 and below 1",
    holds: is_part,
};
pub(super) const BETA1: Param = Param {
    name: "beta1",
    ..MOMENTUM
};
/// Part of the second moment that stays from round to round.
pub(super) const BETA2: Param = Param {
    name: "beta2",
    ..MOMENTUM
};
/// Number that is added to the root of the second moment.
pub(super) const TAU: Param = Param {
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

/// Weight of the proximal term where the strategy can do without.
pub(super) const MU_OPTIONAL: Param = Param { required: false, ..MU };
/// Step size of the trainers' gradient descent, which the node needs to know.
pub(super) const LEARNING_RATE_REQUIRED: Param = Param {
    required: true,
    ..LEARNING_RATE
};
/// Exponent q of the loss: 0 makes all samples count the same, a high one lets the members with the highest loss decide.
pub(super) const Q: Param = Param {
    name: "q",
    required: true,
    must: "from 0 to 20",
    holds: |x| (0.0..=20.0).contains(&x),
};
/// Exponent a of the discount for late contributions, `(1 + rounds behind)^-a`.
pub(super) const STALENESS_EXPONENT: Param = Param {
    name: "staleness_exponent",
    required: false,
    must: "a multiple of 0.5 from 0 to 4",
    holds: |x| (0.0..=4.0).contains(&x) && (2.0 * x).fract() == 0.0,
};
