//! Why a call is refused.

use crate::role::{ROLE_PREFIX, Role};

/// The reason why a call is refused. The texts say the remedy and nothing of what exists on the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The call shows no credential.
    #[error(
        "no credential: send `authorization: Bearer TOKEN` (qres: --token-file), or connect with a client certificate (qres: \
         --tls-cert and --tls-key)"
    )]
    Missing,
    /// The token stands for no caller.
    #[error("the token is not known here, or its time is over: ask the node's operator for a new one (qres token new)")]
    Token,
    /// The certificate does not hold (any more).
    #[error("the client certificate is refused: {0}")]
    Certificate(String),
    /// The callers file names the certificate, and its time there is over, or it is revoked.
    #[error("the client certificate is revoked here, or its time is over: ask the node's operator")]
    Over,
    /// The certificate holds and names no caller.
    #[error(
        "the client certificate has no role here: its organization must be {ROLE_PREFIX}reader, {ROLE_PREFIX}trainer or \
         {ROLE_PREFIX}operator with one common name, or the node's callers file must have one of its names"
    )]
    Unnamed,
    /// The caller's role is too low.
    #[error("{name} has the role {has}, and this call needs {needs}")]
    Role {
        /// The caller's name.
        name: String,
        /// The caller's role.
        has: Role,
        /// The least role that may make the call.
        needs: Role,
    },
}
