//! The problems of a configuration, all of them: a person mends a file once and not once for each.

use super::ConfigError;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<ConfigError>);

/// Everything that is wrong with a configuration, one problem a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl Problems {
    /// Notes a problem.
    pub(super) fn add(&mut self, problem: ConfigError) {
        self.0.push(problem);
    }

    /// Returns the value of a setting; `None` if it is wrong, which is noted.
    pub(super) fn keep<T>(&mut self, outcome: Result<T, ConfigError>) -> Option<T> {
        outcome.map_err(|problem| self.add(problem)).ok()
    }

    /// Returns the result, if it is whole and nothing was noted.
    pub(super) fn finish<T>(self, whole: Option<T>) -> Result<T, ConfigErrors> {
        match whole {
            Some(whole) if self.0.is_empty() => Ok(whole),
            _ => Err(ConfigErrors(self.0)),
        }
    }
}
