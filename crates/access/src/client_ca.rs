//! The CA that signs client certificates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::pem::{self, TlsError};

/// The certificates of the CA of client certificates.
#[derive(Clone)]
pub struct ClientCa {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCa")
    }
}

impl ClientCa {
    /// Reads the CA's certificates from PEM. `name` is the file's name for errors. A connection may come without a certificate: its
    /// callers may show tokens, and a call without any credential is refused with a text, which a broken handshake has not.
    pub fn read(name: &str, pem: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in pem::certificates(name, pem)? {
            roots.add(certificate).map_err(|error| TlsError::new(name, error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), pem::provider());
        let verifier = builder
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::new(name, error))?;
        Ok(Self { verifier })
    }

    pub(crate) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        self.verifier.clone()
    }

    /// Returns the problem of a certificate chain, the holder's certificate first, at this time (seconds since 1970); `None` if
    /// the CA signed the chain and it holds now. A handshake checks the same; this asks again for a connection that is open,
    /// because time goes on and the CA may have changed.
    pub(crate) fn problem(&self, chain: &[CertificateDer<'static>], now: i64) -> Option<String> {
        let (holder, above) = chain.split_first()?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
        let verified = self.verifier.verify_client_cert(holder, above, now);
        verified.err().map(|error| error.to_string())
    }
}
