//! The judgement who makes a call, and whether the caller may make it: at its beginning, and again while it is under way.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use qres_access::{Caller, Refusal, Role, Shown};
use qres_node::clock::unix_ms;
use qres_node::error::{NodeError, Reason};

use super::audit::AuditLine;
use super::connection::Connection;
use super::metrics::Metrics;
use super::rate::Rate;
use super::security::SecurityNow;

/// Interval at which a call under way is judged again, beside each change of the files: credentials also end by time.
const AGAIN_EVERY: Duration = Duration::from_secs(30);
/// Most audit lines a second for the refused calls of one caller. The metric counts them all; a caller must not bury the lines
/// of others.
const REFUSED_LINES_PER_S: NonZeroU32 = NonZeroU32::new(10).expect("not 0");

/// Judges calls.
#[derive(Debug)]
pub(super) struct Judge {
    security: SecurityNow,
    /// The calls a second of each caller, and of each address without a credential; `None` = no limit.
    rate: Option<(NonZeroU32, Rate)>,
    refused_lines: Rate,
    metrics: Metrics,
}

/// What a call shows of its caller, kept for as long as the call lasts.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    /// The connection by which the call came.
    pub(super) connection: Arc<Connection>,
    /// The bearer token; `Some("")` for an `authorization` that is none.
    pub(super) token: Option<String>,
    /// `package.Service/Method`.
    pub(super) rpc: &'static str,
    /// The least role for the call.
    pub(super) needs: Role,
}

impl Judge {
    pub(super) fn new(security: SecurityNow, calls_per_s: Option<NonZeroU32>, metrics: Metrics) -> Self {
        Self {
            security,
            rate: calls_per_s.map(|most| (most, Rate::new(most))),
            refused_lines: Rate::new(REFUSED_LINES_PER_S),
            metrics,
        }
    }

    /// Returns who makes a call that begins. A call above the rate is refused before its role is looked at, and so is the
    /// call of an address whose credentials were refused too often.
    pub(super) fn begin(&self, evidence: &Evidence) -> Result<Caller, NodeError> {
        let caller = match self.caller(evidence) {
            Ok(caller) => caller,
            Err(refusal) => {
                self.count(&format!("address {}", evidence.connection.origin.host()))?;
                return Err(self.refused(&refusal));
            }
        };
        self.count(&format!("{} {}", caller.credential.name(), caller.name))?;
        if let Err(refusal) = caller.permit(evidence.needs) {
            if self.refused_lines.count(&caller.name).is_ok() {
                let line = AuditLine::new(caller, evidence.connection.clone(), evidence.rpc);
                line.end(tonic::Code::PermissionDenied);
            }
            return Err(self.refused(&refusal));
        }
        Ok(caller)
    }

    /// Resolves once the call may no longer go on: its credential was revoked or has ended, or its role is too low by now.
    pub(super) async fn revoked(self: Arc<Self>, evidence: Evidence) -> NodeError {
        let mut security = self.security.clone();
        if security.borrow().policy.is_open() {
            // A node without credentials never gets some while it runs.
            std::future::pending::<()>().await;
        }
        loop {
            let judged = self.caller(&evidence).and_then(|caller| caller.permit(evidence.needs));
            if let Err(refusal) = judged {
                return self.refused(&refusal);
            }
            tokio::select! {
                changed = security.changed() => if changed.is_err() {
                    // The daemon that would change the files is gone: only time can end a credential.
                    tokio::time::sleep(AGAIN_EVERY).await;
                },
                () = tokio::time::sleep(AGAIN_EVERY) => {}
            }
        }
    }

    fn caller(&self, evidence: &Evidence) -> Result<Caller, Refusal> {
        let shown = Shown {
            token: evidence.token.as_deref(),
            certificates: evidence.connection.origin.certificates(),
            by_socket: evidence.connection.origin.is_socket(),
        };
        let now = i64::try_from(unix_ms() / 1000).unwrap_or(i64::MAX);
        let security = self.security.borrow().clone();
        security.policy.caller(&shown, now)
    }

    fn refused(&self, refusal: &Refusal) -> NodeError {
        self.metrics.deny(denial(refusal));
        NodeError::new(reason(refusal), refusal.to_string())
    }

    /// Counts a call of this caller or address.
    fn count(&self, whose: &str) -> Result<(), NodeError> {
        let Some((most, rate)) = &self.rate else { return Ok(()) };
        rate.count(whose).map_err(|wait| {
            self.metrics.refuse("rate");
            let message = format!("{whose} makes more than {most} calls a second (--grpc-rate-max)");
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            NodeError::new(Reason::RateLimit, message).retry_after(wait)
        })
    }
}

fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Missing => Reason::CredentialMissing,
        Refusal::Token | Refusal::Certificate(_) | Refusal::Over => Reason::CredentialRefused,
        Refusal::Unnamed | Refusal::Role { .. } => Reason::RoleTooLow,
    }
}

/// Returns the label of a refusal in metrics.
fn denial(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Missing => "no_credential",
        Refusal::Token => "token",
        Refusal::Certificate(_) | Refusal::Over | Refusal::Unnamed => "certificate",
        Refusal::Role { .. } => "role",
    }
}
