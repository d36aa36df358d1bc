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

/// Writes the line of a call that has ended.
pub(super) fn write(caller: &Caller, connection: &Connection, rpc: &str, object: &AuditObject, ended: Code) {
    let object = object.0.lock();
    tracing::info!(
        target: AUDIT_TARGET,
        caller = caller.name,
        role = caller.role.name(),
        from = connection.origin.to_string(),
        rpc,
        object = %printable(&object),
        code = code::name(ended),
        "call"
    );
}
