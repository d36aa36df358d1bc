//! The decision who calls.

use rustls::pki_types::CertificateDer;

use crate::caller::Caller;
use crate::callers::{Callers, Entry};
use crate::certificate::CertificateNames;
use crate::client_ca::ClientCa;
use crate::refusal::Refusal;

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

impl Policy {
    /// Makes a policy from the callers file and the CA of client certificates, each if there is one.
    pub fn new(callers: Option<Callers>, client_ca: Option<ClientCa>) -> Self {
        Self { callers, client_ca }
    }

    /// Returns true if the node knows no credentials, so that callers need none.
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
            Some(entry) => holding(Some(entry), now).ok_or(Refusal::Over),
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
