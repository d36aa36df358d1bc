//! A caller: the name and the role that a credential stands for.

use crate::role::Role;

/// Most bytes of a caller's name. A trainer's name in a submission may be as long.
pub const NAME_BYTES_MAX: usize = 128;

/// Who calls, as the shown credential says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name: of the callers file, or the common name of a certificate; `local` or `socket` without either.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// True if the name comes from a credential: a trainer with such a name submits under this name alone.
    pub named: bool,
}

impl Caller {
    /// Returns the operator `local`: everybody who reaches a node that knows no credentials.
    pub fn local() -> Self {
        Self::unnamed("local")
    }

    /// Returns the operator `socket`: everybody who may open the node's Unix socket.
    pub fn socket() -> Self {
        Self::unnamed("socket")
    }

    fn unnamed(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Operator,
            named: false,
        }
    }

    /// Returns the only name under which this caller may submit; `None` if it may use any name.
    pub fn trainer(&self) -> Option<&str> {
        (self.named && self.role < Role::Operator).then_some(self.name.as_str())
    }
}

/// Returns the problem of a name, `None` if it may be used: 1 to [`NAME_BYTES_MAX`] bytes of letters, digits and `-_.@:/+ `, so
/// that it can stand in a log line and in a file without quotes.
pub(crate) fn problem(name: &str) -> Option<String> {
    let fine = |c: char| c.is_alphanumeric() || "-_.@:/+ ".contains(c);
    if name.is_empty() {
        Some("a name is expected".to_owned())
    } else if name.len() > NAME_BYTES_MAX {
        Some(format!(
            "the name has {} bytes, at most {NAME_BYTES_MAX} are allowed",
            name.len()
        ))
    } else if !name.chars().all(fine) || name.trim() != name {
        Some("the name has a character other than letters, digits and -_.@:/+ (and spaces inside)".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_caller_below_operator_is_bound_to_its_name() {
        let caller = |role, named| Caller {
            name: "a".into(),
            role,
            named,
        };
        assert_eq!(caller(Role::Trainer, true).trainer(), Some("a"));
        assert_eq!(caller(Role::Operator, true).trainer(), None);
        assert_eq!(Caller::local().trainer(), None);
        assert_eq!(Caller::socket().trainer(), None);
    }

    #[test]
    fn names_that_would_break_a_log_line_are_refused() {
        for name in ["", " a", "a\n", "a\u{1b}[2J", "\"", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(problem(name).is_some(), "{name:?}");
        }
        for name in [
            "alice",
            "spiffe://swarm/alice",
            "größe 重み",
            &"x".repeat(NAME_BYTES_MAX),
        ] {
            assert_eq!(problem(name), None, "{name:?}");
        }
    }
}
