//! Where a connection comes from.

use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;

use rustls::pki_types::CertificateDer;

use super::socket::Certificates;

/// Where a connection comes from, and what its TLS handshake showed.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// The caller's address; `None` for the Unix socket.
    address: Option<SocketAddr>,
    socket: bool,
    certificates: OnceLock<Certificates>,
}

impl Origin {
    pub(super) fn tcp(address: SocketAddr) -> Self {
        Self {
            address: Some(address),
            ..Self::default()
        }
    }

    pub(super) fn socket() -> Self {
        Self {
            socket: true,
            ..Self::default()
        }
    }

    /// Returns true if the connection came by the node's Unix socket.
    pub(super) fn is_socket(&self) -> bool {
        self.socket
    }

    /// Returns the caller's host without its port, for a limit on each host.
    pub(super) fn host(&self) -> String {
        self.address
            .map_or_else(|| self.to_string(), |address| address.ip().to_string())
    }

    /// Notes the certificates that the TLS handshake brought.
    pub(super) fn show(&self, certificates: Certificates) {
        // A connection has one handshake.
        let _ = self.certificates.set(certificates);
    }

    /// Returns the client certificates, the holder's first; empty without.
    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        self.certificates.get().map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.socket) {
            (Some(address), _) => address.fmt(f),
            (None, true) => f.write_str("socket"),
            (None, false) => f.write_str("unknown"),
        }
    }
}
