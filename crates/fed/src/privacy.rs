//! Differential privacy of contributions: the Gaussian mechanism.
//!
//! A node shortens the merged update of its trainers to the length `clip`, and adds normal noise to each element before
//! anything is coded or signed: [`crate::update::merge_and_encode_privately`] (Dwork & Roth 2014, "The algorithmic foundations of
//! differential privacy", appendix A; McMahan et al. 2018, "Learning differentially
//! private recurrent language models"). What is protected is all data of one member: a contribution says (ε, δ)-little about whether the member has its data or none.
//!
//! - `gaussian/1`: the noise of each contribution has the standard deviation `noise_multiplier` · `clip`. The guarantee
//!   holds against everyone, other members included, under all aggregation rules.
//! - `distributed-gaussian/1`: each contribution has the k-th part of that variance (k: `min_contributions`), so that the
//!   sum of a round's contributions has all of it. The guarantee holds against those who get checkpoints and nothing else. Members
//!   see single contributions, which have less noise; so do, in part, those who read rounds or gossip.
//!
//! Each contribution is a *release*. The ε of all releases of a node follows from their number: see [`epsilon`].

mod accountant;

pub use accountant::epsilon;

use crate::aggregation::Aggregation;
use crate::param::{Param, check_numbers};
use crate::record::{Membership, Rule, Spec, SpecError};
use crate::strategy;

const NONE: &str = "none/1";
const GAUSSIAN: &str = "gaussian/1";
const DISTRIBUTED: &str = "distributed-gaussian/1";

/// Largest number of releases of a member: 2^40.
const RELEASES_MAX: u64 = 1 << 40;

const CLIP: Param = Param {
    name: "clip",
    required: true,
    must: "from 1e-9 to 1e9: the greatest length of an update, in the units of the weights",
    holds: |x| (1e-9..=1e9).contains(&x),
};
/// With the smallest value an update of the greatest length is 2^40 steps of the noise's grid, 2^45 with 512 sharers: f64 holds
/// 2^53 exactly.
const NOISE_MULTIPLIER: Param = Param {
    name: "noise_multiplier",
    required: true,
    must: "from 0.000001 to 1000000: the noise's standard deviation as a multiple of clip",
    holds: |x| (1e-6..=1e6).contains(&x),
};
const DELTA: Param = Param {
    name: "delta",
    required: false,
    must: "above 0 and at most 0.1: the probability with which the guarantee may fail",
    holds: |x| x > 0.0 && x <= 0.1,
};
const EPSILON_MAX: Param = Param {
    name: "epsilon_max",
    required: false,
    must: "finite and above 0: a node releases nothing beyond it",
    holds: |x| x.is_finite() && x > 0.0,
};
const NUMBERS: &[Param] = &[CLIP, DELTA, EPSILON_MAX, NOISE_MULTIPLIER];

/// The δ of a mechanism that names none.
const DELTA_DEFAULT: f64 = 1e-5;

/// The numbers of a Gaussian mechanism.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gaussian {
    /// The greatest length of an update (the L2 norm over all float tensors), in the units of the weights.
    pub clip: f64,
    /// The standard deviation of the noise behind the guarantee, as a multiple of `clip`.
    pub noise_multiplier: f64,
    /// The δ of the guarantee.
    pub delta: f64,
    /// The ε that no node exceeds; `None` if there is no limit.
    pub epsilon_max: Option<f64>,
    /// The number of contributions that have this noise together: 1, or k if it is distributed.
    pub sharers: u32,
}

impl Gaussian {
    /// Returns the standard deviation of the noise of one contribution, in the units of the weights.
    pub fn deviation(&self) -> f64 {
        self.noise_multiplier * self.clip / f64::from(self.sharers).sqrt()
    }

    /// Returns the ε of this many releases.
    pub fn epsilon(&self, releases: u64) -> f64 {
        epsilon(self.noise_multiplier, releases, self.delta)
    }

    /// Returns the number of releases of this noise that cost as much as `releases` with another noise multiplier, rounded up: the
    /// divergence of a release is proportional to 1 / z².
    pub fn equivalent(&self, releases: u64, noise_multiplier: f64) -> u64 {
        if noise_multiplier == self.noise_multiplier {
            return releases;
        }
        let ratio = self.noise_multiplier / noise_multiplier;
        // `as` saturates.
        ((releases as f64 * ratio * ratio).ceil() as u64).min(RELEASES_MAX)
    }

    /// Returns true if a node with this many releases may make another one.
    pub fn may_release(&self, releases: u64) -> bool {
        releases < RELEASES_MAX && self.epsilon_max.is_none_or(|most| self.epsilon(releases + 1) <= most)
    }
}

/// Returns the model's Gaussian mechanism; `None` if its updates travel as they are.
pub fn gaussian(spec: &Spec) -> Option<Gaussian> {
    let Rule { id, params } = &spec.privacy;
    let number = |param: &Param| params.get(param.name).copied();
    let sharers = match id.as_str() {
        GAUSSIAN => 1,
        DISTRIBUTED => spec.rounds.min_contributions,
        _ => return None,
    };
    Some(Gaussian {
        clip: number(&CLIP)?,
        noise_multiplier: number(&NOISE_MULTIPLIER)?,
        delta: number(&DELTA).unwrap_or(DELTA_DEFAULT),
        epsilon_max: number(&EPSILON_MAX),
        sharers,
    })
}

/// Returns true if the rule is the distributed mechanism.
pub fn is_distributed(rule: &Rule) -> bool {
    rule.id == DISTRIBUTED
}

/// Checks the privacy mechanism of a spec, and that nothing else in the spec undoes it.
///
/// # Errors
/// The error names the field at fault.
pub fn check_spec(spec: &Spec) -> Result<(), SpecError> {
    let fail = |field, problem: String| Err(SpecError { field, problem });
    let rule = &spec.privacy;
    let id = &rule.id;
    if id == NONE {
        return check_numbers("privacy", rule, &[], |_| false);
    }
    if id != GAUSSIAN && id != DISTRIBUTED {
        return fail(
            "privacy",
            format!("{id:?} is not known here: {DISTRIBUTED}, {GAUSSIAN}, {NONE} are"),
        );
    }
    check_numbers("privacy", rule, NUMBERS, |_| false)?;
    if let Some(metric) = spec.metrics.first() {
        let problem = format!(
            "{} would travel without noise: a model with {id} has no metrics",
            metric.name
        );
        return fail("metrics", problem);
    }
    if strategy::normalises(&spec.strategy) {
        let problem = format!(
            "{} needs the number of local steps, which says how much data a member has: {id} does not go with it",
            spec.strategy.id
        );
        return fail("strategy", problem);
    }
    if let Some(gaussian) = gaussian(spec).filter(|gaussian| !gaussian.may_release(0)) {
        let problem = format!(
            "epsilon_max is below the {:.4} of the first contribution: allow more, or add more noise",
            gaussian.epsilon(1)
        );
        return fail("privacy", problem);
    }
    if !is_distributed(rule) {
        return Ok(());
    }
    if spec.membership == Membership::Open {
        let problem = format!(
            "{id} protects the sum alone, and in an open model every node reads single contributions: take {GAUSSIAN}"
        );
        return fail("privacy", problem);
    }
    // The noise of k members is that of the sum only if all of them count, and the same.
    if !Aggregation::of(spec)?.is_mean() {
        return fail(
            "aggregation",
            format!("{id} protects the sum of a round: it takes no rule but mean/1"),
        );
    }
    if spec.rounds.max_staleness > 0 {
        return fail(
            "max_staleness",
            format!("{id} protects the sum of a round, in which late work would count less than the rest: set it to 0"),
        );
    }
    Ok(())
}

/// Returns the fault that makes these numbers of a contribution invalid in a model of this spec, for every receiver.
pub(crate) fn contribution_fault(spec: &Spec, samples: u64, releases: u64) -> Option<String> {
    match gaussian(spec) {
        None if releases != 0 => Some(format!("{releases} releases are given, the model has no noise")),
        Some(_) if releases > RELEASES_MAX => Some(format!("{releases} releases are more than 2^40")),
        Some(_) if samples != 1 => Some(format!(
            "{samples} samples: with noise all members count the same, as 1"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
