//! The configuration of TLS from PEM files.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::client_ca::ClientCa;
pub use crate::pem::{Pem, TlsError};
use crate::pem::{certificates, provider};

/// The protocol that a TLS handshake must agree on: gRPC is HTTP/2.
const ALPN_H2: &[u8] = b"h2";

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Oldest {
    /// TLS 1.3 alone.
    #[default]
    Tls13,
    /// TLS 1.2 too.
    Tls12,
}

/// Makes the server's side of TLS from its certificate chain, its key and the CA of client certificates.
pub fn server(
    chain: Pem<'_>,
    key: Pem<'_>,
    client_ca: Option<&ClientCa>,
    oldest: Oldest,
) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = certificates(chain.name, chain.bytes)?;
    let private = PrivateKeyDer::from_pem_slice(key.bytes)
        .map_err(|error| TlsError::new(key.name, format!("no private key in PEM: {error}")))?;
    let versions: &[&SupportedProtocolVersion] = match oldest {
        Oldest::Tls13 => &[&version::TLS13],
        Oldest::Tls12 => &[&version::TLS13, &version::TLS12],
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::new(chain.name, error))?;
    let builder = match client_ca {
        Some(ca) => builder.with_client_cert_verifier(ca.verifier()),
        None => builder.with_no_client_auth(),
    };
    let pair = format!("{} and {}", chain.name, key.name);
    let mut config = builder
        .with_single_cert(certificates, private)
        .map_err(|error| TlsError::new(&pair, format!("certificate and key cannot be used together: {error}")))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(Arc::new(config))
}

/// Returns the last second (since 1970) at which every certificate of a chain holds; `None` if the chain cannot be read.
pub fn expiry(chain: Pem<'_>) -> Option<i64> {
    validity(chain).map(|(_, end)| end)
}

/// Returns the first and the last second (since 1970) at which every certificate of a chain holds; `None` if the chain cannot be
/// read.
pub fn validity(chain: Pem<'_>) -> Option<(i64, i64)> {
    let certificates = certificates(chain.name, chain.bytes).ok()?;
    let valid = certificates
        .iter()
        .map(|der| Some(crate::certificate::CertificateNames::read(der)?.valid));
    let valid = valid.collect::<Option<Vec<_>>>()?;
    let start = valid.iter().map(|(start, _)| *start).max()?;
    Some((start, valid.iter().map(|(_, end)| *end).min()?))
}

/// Returns the number (from 1) of the first certificate of a chain that the next one did not issue, by its name: callers then
/// cannot follow the chain to its CA.
pub fn gap(chain: Pem<'_>) -> Option<usize> {
    let certificates = certificates(chain.name, chain.bytes).ok()?;
    let mut links = certificates.iter().zip(certificates.iter().skip(1));
    links.position(|(one, next)| !is_issued_by(one, next)).map(|at| at + 1)
}

fn is_issued_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let names = (
        X509Certificate::from_der(certificate),
        X509Certificate::from_der(issuer),
    );
    matches!(names, (Ok((_, one)), Ok((_, next))) if one.issuer() == next.subject())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem<'a>(name: &'a str, bytes: &'a str) -> Pem<'a> {
        Pem {
            name,
            bytes: bytes.as_bytes(),
        }
    }

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec!["localhost".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        (made.pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_is_taken_and_its_end_is_known() {
        let (chain, key) = pair();
        let config = server(pem("a.crt", &chain), pem("a.key", &key), None, Oldest::Tls13).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2"]);
        assert!(expiry(pem("a.crt", &chain)).unwrap() > 1_800_000_000);
    }

    #[test]
    fn a_chain_in_the_wrong_order_is_noticed() {
        let issuer_key = KeyPair::generate().unwrap();
        let mut issuer = CertificateParams::new(vec![]).unwrap();
        issuer.distinguished_name.push(rcgen::DnType::CommonName, "the CA");
        let issuer = issuer.self_signed(&issuer_key).unwrap();
        let leaf = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let leaf = leaf
            .signed_by(&KeyPair::generate().unwrap(), &issuer, &issuer_key)
            .unwrap();
        let right = leaf.pem() + &issuer.pem();
        assert_eq!(gap(pem("a.crt", &right)), None);
        assert_eq!(gap(pem("a.crt", &leaf.pem())), None);
        assert_eq!(gap(pem("a.crt", &(issuer.pem() + &leaf.pem()))), Some(1));
        let (start, end) = validity(pem("a.crt", &right)).unwrap();
        assert!(start < end);
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_file() {
        let ((chain, key), (_, other)) = (pair(), pair());
        let refused = |chain: &str, key: &str| {
            let made = server(pem("a.crt", chain), pem("a.key", key), None, Oldest::Tls12);
            made.unwrap_err().to_string()
        };
        assert!(refused("garbage", &key).starts_with("a.crt: no certificate in PEM"));
        assert!(refused(&chain, "garbage").starts_with("a.key: no private key in PEM"));
        assert!(refused(&chain, &other).starts_with("a.crt and a.key: "));
        assert!(
            ClientCa::read("ca.crt", b"garbage")
                .unwrap_err()
                .to_string()
                .starts_with("ca.crt: ")
        );
    }
}
