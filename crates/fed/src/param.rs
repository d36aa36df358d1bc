//! Numbers that a rule takes: their names and the conditions on their values.

use crate::record::{Rule, SpecError};

/// A number that a rule takes as a parameter.
pub(crate) struct Param {
    pub name: &'static str,
    pub required: bool,
    /// Condition on the value, in words for error texts; `holds` tests it.
    pub must: &'static str,
    pub holds: fn(f64) -> bool,
}

/// Checks that a rule has no other numbers than these, that their values hold, and that no required one is missing but those
/// that are given elsewhere.
///
/// # Errors
/// The error has the given field, and names the number.
pub(crate) fn check_numbers(
    field: &'static str,
    rule: &Rule,
    params: &[Param],
    elsewhere: impl Fn(&Param) -> bool,
) -> Result<(), SpecError> {
    let fail = |problem: String| Err(SpecError { field, problem });
    let id = &rule.id;
    for (name, &value) in &rule.params {
        let Some(param) = params.iter().find(|param| param.name == name) else {
            let known: Vec<_> = params.iter().map(|param| param.name).collect();
            let takes = match known.is_empty() {
                true => "no numbers".to_owned(),
                false => known.join(", "),
            };
            return fail(format!("{id} takes no number {name:?}: it takes {takes}"));
        };
        if !(param.holds)(value) {
            return fail(format!("{id}: {name} = {value} must be {}", param.must));
        }
    }
    let missing = |param: &&Param| param.required && !rule.params.contains_key(param.name) && !elsewhere(param);
    match params.iter().find(missing) {
        Some(missing) => fail(format!("{id} needs the number {}: {}", missing.name, missing.must)),
        None => Ok(()),
    }
}
