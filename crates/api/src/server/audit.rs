//! The audit log: one line for each call that needs an operator, and for each call of a known caller that its role forbids.

use std::sync::Arc;

use parking_lot::Mutex;
use qres_access::Caller;
use qres_fed::record::printable;
use tonic::Code;
use tonic::codegen::http::Extensions;

use super::connection::Connection;
use crate::code;

/// Target of audit lines, by which a log filter or a file of its own picks them.
pub const AUDIT_TARGET: &str = "qres::audit";

/// What an operator's call acts on. The handler of the call names it; a clone shares the name.
#[derive(Debug, Clone, Default)]
pub(super) struct AuditObject(Arc<Mutex<String>>);

/// Names what the call of these extensions acts on, e.g. a model or a peer.
pub(super) fn object(extensions: &Extensions, name: &str) {
    if let Some(object) = extensions.get::<AuditObject>() {
        name.clone_into(&mut object.0.lock());
    }
}

/// The line of a call under way. It is written when the call ends, also when the caller cancels the call: what the call did
/// until then is done.
pub(super) struct AuditLine {
    caller: Caller,
    connection: Arc<Connection>,
    rpc: &'static str,
    object: AuditObject,
    /// `None` once the line is written.
    ended: Option<Code>,
}

impl AuditLine {
    pub(super) fn new(caller: Caller, connection: Arc<Connection>, rpc: &'static str) -> Self {
        Self {
            caller,
            connection,
            rpc,
            object: AuditObject::default(),
            ended: Some(Code::Cancelled),
        }
    }

    /// Returns the place where the handler names what the call acts on.
    pub(super) fn object(&self) -> AuditObject {
        self.object.clone()
    }

    /// Writes the line of a call that ended with this code.
    pub(super) fn end(mut self, code: Code) {
        self.ended = Some(code);
    }
}

impl Drop for AuditLine {
    fn drop(&mut self) {
        let Some(code) = self.ended.take() else { return };
        let object = self.object.0.lock();
        tracing::info!(
            target: AUDIT_TARGET,
            caller = self.caller.name,
            role = self.caller.role.name(),
            credential = self.caller.credential.name(),
            from = self.connection.origin.to_string(),
            rpc = self.rpc,
            object = %printable(&object),
            code = code::name(code),
            "call"
        );
    }
}
