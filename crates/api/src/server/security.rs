//! What the server knows about callers and TLS. The daemon replaces it as a whole when a file changes.

use std::sync::Arc;

use qres_access::Policy;
use rustls::ServerConfig;
use tokio::sync::watch;

/// The credentials that are taken, and the server's side of TLS.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Who may call.
    pub policy: Policy,
    /// TLS of the TCP listener; `None` = no encryption. The Unix socket needs none.
    pub tls: Option<Arc<ServerConfig>>,
}

/// The present [`Security`], which the daemon may replace at any time.
pub type SecurityNow = watch::Receiver<Arc<Security>>;

/// Returns a [`Security`] that never changes.
pub fn fixed(security: Security) -> SecurityNow {
    watch::channel(Arc::new(security)).1
}
