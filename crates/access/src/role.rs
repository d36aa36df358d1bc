//! The three roles of callers.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// The organization that gives a certificate its role: this text and the name of the [`Role`] after it.
pub const ROLE_PREFIX: &str = "qres:";

/// What a caller may do. Each role may do what the one before it may do, and the order of the values says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads: models, weights, rounds, states, peers.
    Reader,
    /// Submits weights and publishes states too.
    Trainer,
    /// Creates, joins and leaves models, closes rounds, bans and dials peers, drains the node too.
    Operator,
}

/// A text that names no [`Role`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role {0:?}: one of reader, trainer, operator is expected")]
pub struct UnknownRole(pub String);

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Trainer, Self::Operator];

    /// Returns the name that files, certificates and documents use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Trainer => "trainer",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_one_before_may_do() {
        assert!(Role::Reader < Role::Trainer && Role::Trainer < Role::Operator);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        let error = "Trainer".parse::<Role>().unwrap_err().to_string();
        assert!(error.contains("\"Trainer\"") && error.contains("operator"), "{error}");
    }
}
