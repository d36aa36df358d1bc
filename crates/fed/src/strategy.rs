//! Strategies: how contributions become a checkpoint, and what trainers must apply.

use std::collections::BTreeMap;

use crate::record::{Rule, SpecError};

/// Whether the rule is a known strategy with sensible numbers; else names it and lists the known ones.
pub fn check(_rule: &Rule) -> Result<(), SpecError> {
    todo!()
}

/// What trainers apply (`mu`, and `learning_rate`, `local_epochs`, `batch_size` where the rule gives them).
pub fn trainer_config(_rule: &Rule) -> BTreeMap<String, f64> {
    todo!()
}

/// Whether the rule is a known privacy mechanism (`none/1`).
pub fn check_privacy(_rule: &Rule) -> Result<(), SpecError> {
    todo!()
}
