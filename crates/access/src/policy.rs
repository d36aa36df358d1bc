//! The decision who calls.

use rustls::pki_types::CertificateDer;

use crate::caller::Caller;
use crate::callers::{Callers, Entry};
use crate::certificate::{CertificateNames, ROLE_PREFIX};
use crate::client_ca::ClientCa;
use crate::role::Role;

/// The credentials that a node knows. Without any, everybody who reaches the node is the operator `local`.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    callers: Option<Callers>,
    client_ca: Option<ClientCa>,
}

/// What a call shows of its caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// The bearer token of the call.
    pub token: Option<&'a str>,
    /// The client certificates of the connection, the holder's first; empty without.
    pub certificates: &'a [CertificateDer<'static>],
    /// True if the call came by the node's Unix socket.
    pub by_socket: bool,
}

/// The reason why a call is refused. The texts say the remedy and nothing of what exists on the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The call shows no credential.
    #[error(
        "no credential: send `authorization: Bearer TOKEN` (qres: --token-file), or connect with a client certificate (qres: \
         --tls-cert and --tls-key)"
    )]
    Missing,
    /// The token stands for nobody.
    #[error("the token is not known here, or its time is over: ask the node's operator for a new one (qres token new)")]
    Token,
    /// The certificate does not hold (any more).
    #[error("the client certificate is refused: {0}")]
    Certificate(String),
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

impl Policy {
    /// Makes a policy from the callers file and the CA of client certificates, each if there is one.
    pub fn new(callers: Option<Callers>, client_ca: Option<ClientCa>) -> Self {
        Self { callers, client_ca }
    }

    /// Returns true if the node knows no credentials, so that nobody need show one.
    pub fn is_open(&self) -> bool {
        self.callers.is_none() && self.client_ca.is_none()
    }

    /// Returns the CA of client certificates.
    pub fn client_ca(&self) -> Option<&ClientCa> {
        self.client_ca.as_ref()
    }

    /// Returns who calls, at a time in seconds since 1970. A credential that is shown and does not hold is never passed over
    /// for a weaker one.
    pub fn caller(&self, shown: &Shown<'_>, now: i64) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(if shown.by_socket {
                Caller::socket()
            } else {
                Caller::local()
            });
        }
        if let Some(token) = shown.token {
            let entry = self.callers.as_ref().and_then(|callers| callers.by_token(token));
            return holding(entry, now).ok_or(Refusal::Token);
        }
        if !shown.certificates.is_empty() {
            return self.by_certificates(shown.certificates, now);
        }
        if shown.by_socket {
            Ok(Caller::socket())
        } else {
            Err(Refusal::Missing)
        }
    }

    /// Returns who calls, as [`Policy::caller`] does. A caller with a role below `needs` is refused, too.
    pub fn permit(&self, shown: &Shown<'_>, needs: Role, now: i64) -> Result<Caller, Refusal> {
        let caller = self.caller(shown, now)?;
        if caller.role >= needs {
            return Ok(caller);
        }
        Err(Refusal::Role {
            name: caller.name,
            has: caller.role,
            needs,
        })
    }

    fn by_certificates(&self, chain: &[CertificateDer<'static>], now: i64) -> Result<Caller, Refusal> {
        let refused = |problem: &str| Refusal::Certificate(problem.to_owned());
        let ca = self
            .client_ca
            .as_ref()
            .ok_or_else(|| refused("this node takes none any more"))?;
        if let Some(problem) = ca.problem(chain, now) {
            return Err(Refusal::Certificate(problem));
        }
        let names = chain.first().and_then(|holder| CertificateNames::read(holder));
        let names = names.ok_or_else(|| refused("it cannot be read"))?;
        match self.callers.as_ref().and_then(|callers| callers.by_certificate(&names)) {
            // An entry whose time is over must not fall back to what the certificate says by itself.
            Some(entry) => holding(Some(entry), now).ok_or(Refusal::Unnamed),
            None => names.caller.ok_or(Refusal::Unnamed),
        }
    }
}

/// Returns the caller of an entry whose time is not over.
fn holding(entry: Option<&Entry>, now: i64) -> Option<Caller> {
    entry
        .filter(|entry| !entry.is_over(now))
        .map(|entry| entry.caller.clone())
}

#[cfg(test)]
mod tests;
