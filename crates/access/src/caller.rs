//! A caller: the name and the role that a credential stands for.

use crate::refusal::Refusal;
use crate::role::Role;

/// Most bytes of a caller's name. A trainer's name in a submission may be as long.
pub const NAME_BYTES_MAX: usize = 128;

/// Names of callers without a name of their own, which no credential may have.
const RESERVED: [&str; 2] = ["local", "socket"];

/// The kind of credential that a call shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// None: the node knows no credentials.
    None,
    /// The node's Unix socket.
    Socket,
    /// A bearer token.
    Token,
    /// A client certificate.
    Certificate,
}

/// Who calls, as the shown credential says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name: of the callers file, or the common name of a certificate; `local` or `socket` without either.
    pub name: String,
    /// What the caller may do.
    pub role: Role,
    /// What the caller shows.
    pub credential: Credential,
}

impl Credential {
    /// Returns the name that logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Socket => "socket",
            Self::Token => "token",
            Self::Certificate => "certificate",
        }
    }
}

impl Caller {
    /// Returns the operator `local`: everybody who reaches a node that knows no credentials.
    pub fn local() -> Self {
        Self::unnamed("local", Credential::None)
    }

    /// Returns the operator `socket`: everybody who may open the node's Unix socket.
    pub fn socket() -> Self {
        Self::unnamed("socket", Credential::Socket)
    }

    fn unnamed(name: &str, credential: Credential) -> Self {
        Self {
            name: name.to_owned(),
            role: Role::Operator,
            credential,
        }
    }

    /// Returns an error if the caller's role is below the one that a call needs.
    pub fn permit(&self, needs: Role) -> Result<(), Refusal> {
        if self.role >= needs {
            return Ok(());
        }
        Err(Refusal::Role {
            name: self.name.clone(),
            has: self.role,
            needs,
        })
    }

    /// Returns the only name under which this caller may submit; `None` if it may use any name.
    pub fn trainer(&self) -> Option<&str> {
        (self.role < Role::Operator).then_some(self.name.as_str())
    }
}

/// Returns the problem of a name, `None` if it may be used: 1 to [`NAME_BYTES_MAX`] bytes of letters, digits and `-_.@:/+ `, so
/// that it can stand in a log line and in a file without quotes.
pub(crate) fn problem(name: &str) -> Option<String> {
    let fine = |c: char| c.is_alphanumeric() || "-_.@:/+ ".contains(c);
    if name.is_empty() {
        Some("a name is expected".to_owned())
    } else if RESERVED.contains(&name) {
        Some(format!("{name:?} stands for callers without a name: choose another"))
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
    fn only_a_caller_below_operator_is_bound_to_its_name() {
        let caller = |role| Caller {
            name: "a".into(),
            role,
            credential: Credential::Token,
        };
        assert_eq!(caller(Role::Trainer).trainer(), Some("a"));
        assert_eq!(caller(Role::Operator).trainer(), None);
        assert_eq!(Caller::local().trainer(), None);
        assert_eq!(Caller::socket().trainer(), None);
    }

    #[test]
    fn names_that_would_break_a_log_line_are_refused() {
        for name in [
            "",
            "local",
            "socket",
            " a",
            "a\n",
            "a\u{1b}[2J",
            "\"",
            &"x".repeat(NAME_BYTES_MAX + 1),
        ] {
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
