//! PEM files as TLS needs them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A PEM file that was read: its name for errors, and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The file's name.
    pub name: &'a str,
    /// The file's bytes.
    pub bytes: &'a [u8],
}

/// A file that TLS cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct TlsError {
    /// The file's name.
    pub file: String,
    /// What is wrong with its content.
    pub problem: String,
}

impl TlsError {
    pub(crate) fn new(file: &str, problem: impl ToString) -> Self {
        Self {
            file: file.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// Reads all certificates of a PEM file, at least one.
pub(crate) fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = read.map_err(|error| TlsError::new(name, format!("no certificates in PEM: {error}")))?;
    if found.is_empty() {
        return Err(TlsError::new(
            name,
            "no certificate in PEM: a block BEGIN CERTIFICATE is expected",
        ));
    }
    Ok(found)
}

/// The one crypto provider of the process; libp2p's QUIC brings the same.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
